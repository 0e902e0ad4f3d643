"""Many turns at once: the books to the nano-dollar, and what an open stream costs the process."""

import asyncio
import random

import aiohttp

from tests.journeys.books import Books
from tests.journeys.conftest import Start
from tests.journeys.talk import Client
from tests.journeys.world import World
from tests.upstream.server import Upstream

TURNS = 1000
AT_ONCE = 100
STREAMS = 200


async def test_a_third_of_the_clients_leave(
    start_server: Start, session: aiohttp.ClientSession, world: World, upstream: Upstream
) -> None:
    """Balance = start - the sum of the charges, nothing held, after 1,000 turns of which a third is left at random."""
    server = await asyncio.to_thread(start_server)
    client = Client(session, server.url)
    places = asyncio.Semaphore(AT_ONCE)
    chance = random.Random(7)

    async def one(number: int, leaves_after_s: float | None) -> str:
        async with places:
            asking = asyncio.ensure_future(client.post(world.path, f"scripted/slow?n=12&rate=40 {number}"))
            if leaves_after_s is None:
                async with await asking as reply:
                    assert (await reply.all())[-1]["type"] == "done"
                return "stayed"
            await asyncio.wait({asking}, timeout=leaves_after_s)
            if asking.done():
                asking.result().leave()
            asking.cancel()
            return "left"

    leaving = [chance.uniform(0, 0.5) if chance.random() < 1 / 3 else None for _ in range(TURNS)]
    done = await asyncio.gather(*(one(number, after) for number, after in enumerate(leaving)))

    assert done.count("left") > TURNS / 4
    ended = await world.nothing_is_open(seconds=20)
    endings = [turn["ending"] for turn in ended]
    assert set(endings) <= {"finished", "client_left"}
    assert endings.count("finished") >= done.count("stayed")
    assert endings.count("client_left") > TURNS / 10
    assert world.spent > 0


async def test_two_hundred_open_streams(
    start_server: Start, session: aiohttp.ClientSession, world: World, books: Books, upstream: Upstream, stack: dict[str, str]
) -> None:
    """As many PostgreSQL connections and threads as with none."""
    server = await asyncio.to_thread(start_server)
    client = Client(session, server.url)
    async with await client.post(world.path, "warm up") as reply:
        await reply.body()
    async with await client.get("/api/health") as reply:
        assert reply.status == 200
    before = server.threads(), books.connections(stack["STACK_NAME"])
    replies = await asyncio.gather(
        *(client.post(world.path, "scripted/slow?n=3000&rate=2") for _ in range(STREAMS))
    )
    await asyncio.gather(*(reply.until("text-delta", 2) for reply in replies))
    during = server.threads(), books.connections(stack["STACK_NAME"])
    for reply in replies:
        reply.leave()

    assert during == before
    await world.nothing_is_open(turns=STREAMS + 1)
