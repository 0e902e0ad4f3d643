"""Endings while the database is away: at the reserve, while streaming, at the settlement, and with readers gone."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from billing import money
from tests.journeys.books import Books, price, tokens
from tests.journeys.conftest import Start
from tests.journeys.ends import eventually, own_count, the_turn
from tests.journeys.proxy import Proxy, database_proxy
from tests.journeys.server import Server
from tests.journeys.talk import Client, kinds
from tests.journeys.world import World
from tests.upstream.server import Upstream

PROMPT = "scripted/slow?n=20&rate=20"


@pytest.fixture
async def proxy(stack: dict[str, str]) -> AsyncIterator[Proxy]:
    async with database_proxy(stack["DATABASE_URL"]) as running:
        yield running


@pytest.fixture
async def away(proxy: Proxy, start_server: Start) -> Server:
    """A server that reaches its database through the proxy, and keeps clients waiting for a second at most."""
    return await asyncio.to_thread(start_server, tuned=True, DATABASE_URL=proxy.url, TEST_SETTLE_WAIT_S="1")


@pytest.fixture
async def client(session: aiohttp.ClientSession, away: Server, upstream: Upstream, world: World) -> Client:
    """Talks to that server, which knows the credential and the agent already."""
    made = Client(session, away.url)
    async with await made.get(f"{world.path}/chat-that-is-not-there/stream") as reply:
        assert reply.status == 204
    return made


def adjusted_or_settled(books: Books, turn: dict[str, Any]) -> int:
    hold = books.hold(turn["id"])
    return hold["charged_nano"] + hold["adjusted_nano"]


async def test_gone_at_reserve(client: Client, world: World, proxy: Proxy, upstream: Upstream, books: Books) -> None:
    """No answer without credits held; whatever the reserve became, nothing stays held."""
    async with await client.post(world.path, "warm the connections up") as reply:
        await reply.body()
    proxy.pause()
    asking = asyncio.ensure_future(client.post(world.path, PROMPT))
    reply = await asyncio.wait_for(asking, 15)
    assert reply.status == 503
    assert (await reply.json())["code"] == "unavailable"
    assert reply.headers["Retry-After"]
    proxy.cut()
    proxy.resume()

    await world.nothing_is_open(seconds=20)
    assert world.spent == price(tokens("warm the connections up"), 4)
    assert len(upstream.journal.exchanges) == 1


async def test_client_left_before_headers(client: Client, world: World, proxy: Proxy, upstream: Upstream) -> None:
    async with await client.post(world.path, "warm the connections up") as reply:
        await reply.body()
    proxy.pause()
    asking = asyncio.ensure_future(client.post(world.path, PROMPT))
    await asyncio.sleep(0.3)
    asking.cancel()
    await asyncio.sleep(0.1)
    proxy.resume()

    turns = await world.nothing_is_open()
    assert [turn["ending"] for turn in turns[1:]] in ([], ["client_left"])
    assert world.spent == turns[0]["cost_nano"]
    assert len(upstream.journal.exchanges) == 1


async def test_gone_at_settle(client: Client, world: World, proxy: Proxy) -> None:
    """The client does not wait for ever, the settlement does: once the database is back the turn costs what it used."""
    reply = await client.post(world.path, PROMPT)
    await reply.until("text-delta", 18)
    proxy.pause()
    events = await reply.all()
    assert kinds(events)[-2:] == ["error", "done"]
    assert events[-2]["code"] == "unavailable"
    proxy.cut()
    proxy.resume()

    await the_turn(world, "finished")
    assert world.spent == price(tokens(PROMPT), 20)


async def test_cut_at_settle(client: Client, world: World, proxy: Proxy) -> None:
    """A connection lost with the settlement under way is asked again: charged once, and the client hears the cost."""
    reply = await client.post(world.path, PROMPT)
    await reply.until("text-delta", 18)
    proxy.cut()
    events = await reply.all()

    charged = price(tokens(PROMPT), 20)
    assert (events[-1]["type"], events[-1]["cost"]) == ("done", money.usd(charged))
    await the_turn(world, "finished")
    assert world.spent == charged


async def test_client_left_during_settlement(client: Client, world: World, proxy: Proxy, upstream: Upstream) -> None:
    reply = await client.post(world.path, PROMPT)
    await reply.until("text-delta", 18)
    proxy.pause()
    await eventually(lambda: upstream.journal.last().completed_at)
    await asyncio.sleep(0.2)
    reply.leave()
    await asyncio.sleep(0.2)
    proxy.resume()

    await the_turn(world, "finished")
    assert world.spent == price(tokens(PROMPT), 20)


@pytest.mark.slow
async def test_gone_while_streaming(client: Client, world: World, proxy: Proxy, books: Books) -> None:
    """A hold that cannot be renewed in time is as good as gone: the turn is fenced before it lapses, and settled when
    the database is back, never twice."""
    prompt = "scripted/slow?n=900&rate=30"
    reply = await client.post(world.path, prompt)
    await reply.until("text-delta", 5)
    proxy.pause()
    events = await asyncio.wait_for(reply.all(), 20)
    assert [event.get("code") for event in events[-2:]] == ["unavailable", None]
    proxy.cut()
    proxy.resume()

    turn = await the_turn(world, "unavailable")
    assert world.spent == adjusted_or_settled(books, turn) == own_count(prompt, turn["answer"])


async def test_draining_a_provider_that_bills_on(
    session: aiohttp.ClientSession, start_server: Start, world: World, upstream: Upstream
) -> None:
    """Nobody listens any more, but the provider would bill the rest anyway: it is read to its end and charged by it."""
    server = await asyncio.to_thread(start_server, OPENAI_ON_ABORT="drain")
    client, prompt = Client(session, server.url), "scripted/slow?n=60&rate=60"
    reply = await client.post(world.path, {"id": "chat-that-is-stopped", "message": prompt})
    seen = await reply.until("text-delta", 10)
    async with await client.post(f"{world.path}/chat-that-is-stopped/stop", "") as stopped:
        assert (await stopped.json())["stopped"] is True
    rest = await reply.all()

    turn = await the_turn(world, "stopped")
    assert len(turn["answer"].split()) < 40, "what comes after the stop is for nobody"
    assert kinds(seen + rest)[-1] == "done"
    assert world.spent == price(tokens(prompt), 60)
    assert upstream.journal.last().client_closed_at is None
