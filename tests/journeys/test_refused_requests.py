"""What is wrong with a request itself: body, model, dialect, conversation, method. None of it leaves anything."""

import asyncio
import socket
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from billing import ids
from tests.journeys.books import Books
from tests.journeys.conftest import Start
from tests.journeys.refusing import PAST, refused
from tests.journeys.server import Server
from tests.journeys.talk import Client
from tests.journeys.world import World
from tests.upstream.server import Upstream

pytestmark = pytest.mark.usefixtures("nothing_is_left")


BODIES: list[tuple[Any, str]] = [
    ("", ""),
    (" \n\t ", ""),
    (b"\xff\xfe", ""),
    ({}, ""),
    ({"messages": []}, "/messages"),
    ({"messages": "hello"}, "/messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "/messages/0/role"),
    ({"messages": [{"role": "system", "content": "obey"}, {"role": "user", "content": "x"}]}, "/messages/0/role"),
    ({"messages": [{"role": "user", "content": 7}]}, "/messages/0/content"),
    ({"messages": [{"role": "user", "parts": [{"type": "text", "text": None}]}]}, "/messages/0/parts/0/text"),
    ({"messages": [{"role": "user", "content": "x"}] * 501}, "/messages"),
    ({"message": None}, "/message"),
    ({"message": "x", "id": 5}, "/id"),
    ({"message": "x", "id": "a/b"}, "/id"),
    ({"message": "x", "trigger": "explode"}, "/trigger"),
    ({"approvals": [{"approvalId": "a", "approved": "yes"}]}, "/approvals/0/approved"),
]


@pytest.mark.parametrize(("body", "pointer"), BODIES)
async def test_bad_bodies_are_told_by_pointer(client: Client, world: World, body: Any, pointer: str) -> None:
    told = await refused(await client.post(world.path, body), 400, "invalid")
    assert [error["pointer"] for error in told["errors"]] == [pointer]
    assert all(error["code"] and error["detail"] for error in told["errors"])


async def test_a_system_message_passes_for_members(client: Client, books: Books) -> None:
    poor = World(books, nano=0)
    body = {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "x"}]}
    key = poor.new_key("streams:open")
    async with await client.post(f"{poor.open_path}/test", body, Authorization=f"Bearer {key}") as reply:
        assert reply.status == 200, "it is refused for want of money only, and that is told on the stream"
        assert (await reply.all())[0]["code"] == "insufficient_credits"


@pytest.mark.parametrize("framing", ["Content-Length: 2097152", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("kind", ["uvicorn"])
async def test_too_large_a_body_is_refused_before_it_is_read(
    server: Server, client: Client, world: World, framing: str, kind: str
) -> None:
    """With a length, before a byte of it was sent; in chunks, as soon as there is too much."""
    head = f"POST {world.path} HTTP/1.1\r\nHost: {urlsplit(server.url).netloc}\r\n{framing}\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head)
    if "chunked" in framing:
        for _ in range(17):
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
    begun = time.monotonic()
    status = await asyncio.wait_for(reader.readline(), 5)
    assert status.split()[1] == b"413"
    assert time.monotonic() - begun < 2
    writer.transport.abort()


async def test_agents_models_and_prompts(client: Client, world: World, books: Books) -> None:
    key = {"Authorization": f"Bearer {world.new_key('streams:open')}"}

    def path(agent_id: str) -> str:
        return f"/api/streams/{world.workspace_id}/{agent_id}/test"

    await refused(await client.post(path(ids.new("ag")), "hello", **key), 404, "not_found")
    await refused(await client.post(path(world.new_agent(deleted_at=PAST)), "hello", **key), 404, "not_found")
    unpriced = world.new_agent(model="model-without-a-price")
    told = await refused(await client.post(path(unpriced), "hello", **key), 422, "unprocessable")
    assert "model-without-a-price" in told["detail"]
    await refused(await client.post(world.path, "word " * 70_000), 422, "prompt_too_large")


async def test_dialects(client: Client, world: World) -> None:
    for dialect in ("klingon", "v4"):
        await refused(await client.post(world.path, "hello", X_Stream_Dialect=dialect), 400, "invalid")
        await refused(await client.post(f"{world.path}?dialect={dialect}", "hello"), 400, "invalid")


async def test_conversations_of_others(client: Client, world: World, books: Books) -> None:
    foreign = ids.new("conv")
    now = datetime.now(UTC)
    books.insert(
        "streams_conversation", id=foreign, workspace_id=world.workspace_id, agent_id=world.agent_id,
        scope="sec_of_somebody_else", created_at=now, updated_at=now,
    )  # fmt: skip
    for name in (foreign, ids.new("conv"), "nonsense", "x" * 5000):
        await refused(await client.post(world.path, "hello", X_Conversation_Id=name), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "tail"),
    [("PUT", ""), ("DELETE", ""), ("GET", "/chat-of-some-length/stop"), ("POST", "/chat-of-some-length/stream")],
)
async def test_methods(client: Client, world: World, method: str, tail: str) -> None:
    reply = await client.call(method, world.path + tail)
    await refused(reply, 405, "method_not_allowed")
    assert "OPTIONS" in reply.headers["Allow"]


async def test_trailing_slashes(client: Client, books: Books) -> None:
    poor = World(books, nano=0)
    for path in (f"{poor.path}/", f"{poor.path}/chat-of-some-length/stop/"):
        async with await client.post(path, "hello") as reply:
            assert reply.status == 200
    async with await client.get(f"{poor.path}/chat-of-some-length/stream/") as reply:
        assert reply.status == 204


async def test_request_ids(client: Client, world: World) -> None:
    reply = await client.post(world.path, "", X_Request_Id="my-own.id_7")
    assert (await refused(reply, 400, "invalid"))["request_id"] == "my-own.id_7"
    reply = await client.post(world.path, "", X_Request_Id="not an id; at all")
    assert (await refused(reply, 400, "invalid"))["request_id"].startswith("req_")


async def test_internal_errors_keep_their_text(
    start_server: Start, session: aiohttp.ClientSession, world: World, books: Books
) -> None:
    """Something of ours breaks: the caller gets a code and a request id, the log has the rest."""
    server = await asyncio.to_thread(start_server)
    client = Client(session, server.url)
    for table, dialect in [
        ("agents_streamsecret", "plain"),
        ("billing_plan", "plain"),
        ("billing_plan", "json"),
        ("billing_reservation", "plain"),
    ]:  # in this order: a statement that was prepared outlives the renaming of its table
        books.run(f"ALTER TABLE {table} RENAME TO gone_for_now")
        try:
            async with await client.post(world.path, "hello", X_Stream_Dialect=dialect) as reply:
                body = (await reply.body()).decode()
                await refused(reply, 500, "internal_error")
        finally:
            books.run(f"ALTER TABLE gone_for_now RENAME TO {table}")
        for secret_word in ("relation", "gone_for_now", table, "SELECT", "Traceback", "psycopg", "Undefined"):
            assert secret_word not in body
        request_id = reply.headers["X-Request-Id"]
        told = [line for line in server.lines() if line.get("request_id") == request_id and line["level"] == "error"]
        assert any("UndefinedTable" in str(line) for line in told)


def test_a_half_sent_request_leaves_nothing(server: Server, world: World, upstream: Upstream) -> None:
    """A client that dies in mid-body."""
    with socket.create_connection(("127.0.0.1", server.port)) as half:
        half.sendall(f"POST {world.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhello".encode())
    time.sleep(0.2)
    assert "Traceback" not in server.written()[-3000:]
