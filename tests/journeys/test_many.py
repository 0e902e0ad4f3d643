"""Many turns at once: the books to the nano-dollar, and what an open stream costs the process."""

import asyncio
import random
import statistics
import time

import aiohttp
import pytest

from tests.journeys.books import Books
from tests.journeys.conftest import Start
from tests.journeys.server import manage
from tests.journeys.talk import Client
from tests.journeys.world import World
from tests.upstream.server import Upstream

TURNS = 1000
AT_ONCE = 100
STREAMS = 200


async def test_a_third_of_the_clients_leave(
    start_server: Start, session: aiohttp.ClientSession, world: World, upstream: Upstream, stack: dict[str, str]
) -> None:
    """Balance = start - the sum of the charges, nothing held, after 1,000 turns of which a third is left at random."""
    server = await asyncio.to_thread(start_server)
    client = Client(session, server.url)
    places = asyncio.Semaphore(AT_ONCE)
    chance = random.Random(7)

    async def stay(prompt: str) -> None:
        async with await client.post(world.path, prompt) as reply:
            assert (await reply.all())[-1]["type"] == "done"

    async def leave_after_words(prompt: str) -> None:
        async with await client.post(world.path, prompt) as reply:
            await reply.until("text-delta", chance.randint(1, 25))

    async def leave_at_some_time(prompt: str) -> None:
        asking = asyncio.ensure_future(client.post(world.path, prompt))
        await asyncio.wait({asking}, timeout=chance.uniform(0, 1))
        asking.cancel()
        if asking.done() and not asking.cancelled():
            asking.result().leave()

    async def one(number: int) -> str:
        async with places:
            client_does = chance.choice([stay] * 4 + [leave_after_words, leave_at_some_time])
            await client_does(f"scripted/slow?n=30&rate=50 {number}")
            return client_does.__name__

    done = await asyncio.gather(*(one(number) for number in range(TURNS)))

    ended = await world.nothing_is_open(seconds=20)
    endings = [turn["ending"] for turn in ended]
    assert set(endings) <= {"finished", "client_left"}
    assert endings.count("finished") >= done.count("stay") > TURNS / 2
    assert endings.count("client_left") >= done.count("leave_after_words") > TURNS / 10
    assert world.spent > 0
    audited = await asyncio.to_thread(manage, stack, "audit_ledger")
    assert (audited.returncode, audited.stdout.strip()) == (0, "The books are right.")


async def test_two_hundred_open_streams(
    start_server: Start,
    session: aiohttp.ClientSession,
    world: World,
    books: Books,
    upstream: Upstream,
    stack: dict[str, str],
) -> None:
    """As many PostgreSQL connections and threads as with none."""
    server = await asyncio.to_thread(start_server)
    client = Client(session, server.url)
    async with await client.post(world.path, "warm up") as reply:
        await reply.body()
    before = server.threads(), books.connections(stack["STACK_NAME"])
    replies = await asyncio.gather(*(client.post(world.path, "scripted/slow?n=3000&rate=2") for _ in range(STREAMS)))
    await asyncio.gather(*(reply.until("text-delta", 2) for reply in replies))
    during = server.threads(), books.connections(stack["STACK_NAME"])
    for reply in replies:
        reply.leave()

    assert during[0] <= before[0]
    assert during[1] == before[1]
    await world.nothing_is_open(turns=STREAMS + 1)


@pytest.mark.parametrize("how", ["leave", "stop"])
async def test_the_providers_socket_closes_at_once(client: Client, world: World, upstream: Upstream, how: str) -> None:
    """From the client's leaving, or its pressing stop, to the provider's seeing the connection closed."""
    took_s = []
    for number in range(40):
        chat = f"chat-number-{number:010}"
        reply = await client.post(world.path, {"id": chat, "message": "scripted/slow?n=900&rate=20"})
        await reply.until("text-delta", 2)
        exchange = upstream.journal.last()
        begun = time.monotonic()
        if how == "leave":
            reply.leave()
        else:
            stopped = await client.post(f"{world.path}/{chat}/stop", "")
            await stopped.body()
        while exchange.client_closed_at is None:
            assert time.monotonic() - begun < 2
            await asyncio.sleep(0.001)
        took_s.append(exchange.client_closed_at - begun)
        reply.leave()

    # Ten milliseconds on a machine that does nothing else; tests share theirs.
    assert statistics.median(took_s) < 0.05, sorted(took_s)
    await world.nothing_is_open(turns=40)
