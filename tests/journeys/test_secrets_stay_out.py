"""No secret in anything the servers write, however talkative they are told to be."""

import asyncio
import secrets as randomness

import aiohttp
import pytest
from yarl import URL

from agents import vault
from tests.journeys.books import Books
from tests.journeys.conftest import Start
from tests.journeys.refusing import broken
from tests.journeys.server import TALKATIVE
from tests.journeys.talk import Client
from tests.journeys.world import World
from tests.upstream.server import Upstream

MOST = {"uvicorn": "trace", "daphne": "debug"}
QUESTION = "What the customer asked " + randomness.token_hex(8)


async def everything(client: Client, world: World, books: Books) -> list[str]:
    """Uses secrets in every way there is, well and badly; returns all that must never be seen."""
    key, unscoped = world.new_key("streams:open"), world.new_key("read")
    unknown, wrong_key = vault.mint(vault.STREAM_SECRET).plain, vault.mint(vault.API_KEY).plain
    session = world.session(world.user_id)
    books.run("ALTER TABLE agents_streamsecret RENAME TO gone_for_now")
    try:
        crashing = [
            client.post(world.path, QUESTION),
            client.post(world.open_path, QUESTION, Authorization=f"Bearer {unknown}"),
        ]
        for call in crashing:
            async with await call as reply:
                assert reply.status == 500
                await reply.body()
    finally:
        books.run("ALTER TABLE gone_for_now RENAME TO agents_streamsecret")
    in_path = [
        world.secret, unknown, broken(world.secret), world.new_secret(revoked_at="2020-01-01T00:00:00Z"), key,
        world.secret.replace("_", "%5F"), world.secret.replace("_", "%5f") + "%20", f"{unknown}-and-more",
    ]  # fmt: skip
    calls = [client.post(f"{world.open_path}/{secret}", QUESTION) for secret in in_path]
    calls += [client.post(f"{world.open_path}/{secret}/", "") for secret in in_path]
    calls += [client.get(f"{world.open_path}/{secret}/some-chat-of-length/stream?after=x") for secret in in_path]
    calls += [client.post(f"{world.open_path}/{secret}/some-chat-of-length/stop", "") for secret in in_path]
    calls += [client.call("OPTIONS", f"{world.open_path}/{secret}") for secret in in_path]
    calls += [client.call("PUT", f"{world.open_path}/{secret}", "x") for secret in in_path]
    calls += [client.post(f"/api/streams/{secret}/{world.agent_id}/{secret}/x", QUESTION) for secret in in_path]
    calls += [client.get(f"/api/{secret}?secret={secret}") for secret in in_path]
    calls += [client.post(f"{world.open_path}/{world.secret}", "x" * 1_100_000)]
    for bearer in (world.secret, unknown, key, unscoped, wrong_key, broken(key)):
        told = {"Authorization": f"Bearer {bearer}"}
        calls += [
            client.post(world.open_path, QUESTION, **told),
            client.post(f"{world.open_path}/test", QUESTION, **told),
        ]
        calls += [client.get("/api/workspaces", **told), client.get("/api/streams", **told)]
    calls += [client.post(f"{world.open_path}/test", QUESTION, **session)]
    for reply in await asyncio.gather(*calls):
        async with reply:
            await reply.body()
    cookie = session["Cookie"].split(";")[0].removeprefix("sessionid=")
    return [*in_path, key, unscoped, unknown, wrong_key, broken(key), cookie]


def spellings(secret: str) -> list[str]:
    """The secret with its prefix percent-encoded in part and in whole; sent as they are, where `Client` would decode
    what need not be encoded."""
    encoded = [f"%{ord(character):02{case}}" for case in "xX" for character in secret[:4]]
    one_each = [secret[:place] + encoded[place] + secret[place + 1 :] for place in range(4)]
    return [*one_each, "".join(encoded[:4]) + secret[4:], "".join(encoded[4:]) + secret[4:]]


@pytest.mark.parametrize("kind", ["uvicorn", "daphne"])
async def test_nothing_the_server_writes_holds_a_secret(
    start_server: Start, session: aiohttp.ClientSession, world: World, books: Books, upstream: Upstream, kind: str
) -> None:
    server = await asyncio.to_thread(start_server, kind, arguments=TALKATIVE[kind], LOG_LEVEL="DEBUG")
    seen = await everything(Client(session, server.url), world, books)
    for spelled in spellings(world.secret):
        url = URL(f"{server.url}{world.open_path}/{spelled}", encoded=True)
        async with session.post(url, data=QUESTION) as reply:
            assert reply.status == 200, "it opens the agent all the same"
            await reply.read()
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(url)
        seen.append(spelled)
    await asyncio.to_thread(server.stop)

    written = server.written()
    assert world.workspace_id in written, "it did write"
    assert MOST[kind] in {line["level"] for line in server.lines()}, "and at its most talkative"
    for secret in seen:
        # What follows the prefix and the public part is the secret itself; half of it is too much already.
        for piece in (secret[18:34], secret[-24:]):
            assert piece not in written, next(line for line in written.splitlines() if piece in line)[:400]
    provider_key = upstream.journal.exchanges[0].headers["authorization"].removeprefix("Bearer ")
    assert provider_key.startswith("sk-")
    assert provider_key not in written
    assert QUESTION not in written
