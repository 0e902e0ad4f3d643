"""What the tests of refusals share."""

from datetime import UTC, datetime
from typing import Any

from tests.journeys.talk import Reply

MIB = 1024 * 1024
ORIGIN = "https://shop.example.com"
PAST = datetime(2020, 1, 1, tzinfo=UTC)


async def refused(reply: Reply, status: int, code: str) -> dict[str, Any]:
    """The problem, once it is found to be the right one."""
    async with reply:
        told = await reply.json()
        assert (reply.status, told["code"]) == (status, code), told
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert told["status"] == status
    assert told["request_id"] == reply.headers["X-Request-Id"]
    assert {"type", "title", "detail", "instance"} <= told.keys()
    return told


def broken(secret: str) -> str:
    """The same secret with another character before its checksum."""
    return secret[:20] + ("a" if secret[20] != "a" else "b") + secret[21:]
