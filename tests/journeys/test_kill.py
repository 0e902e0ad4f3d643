"""Servers that end while turns run: killed without a word, and asked to end."""

import asyncio
import re
import signal
import time

import aiohttp
import pytest

from tests.journeys.books import OUTPUT_NANO, Books, price, tokens
from tests.journeys.conftest import Start
from tests.journeys.server import manage
from tests.journeys.talk import Client, Event, Reply, kinds, text_of
from tests.journeys.world import World
from tests.upstream.server import Upstream

TURNS = 50
RATE = 20
PROMPT = f"scripted/slow?n=2000&rate={RATE}"
SWEEP = "from streams.tasks import sweep; sweep()"
WORD_BYTES = len("tok1999 ")


async def begin(client: Client, world: World, count: int = TURNS) -> list[Reply]:
    """As many turns, each having said something."""
    replies = await asyncio.gather(*(client.post(world.path, PROMPT) for _ in range(count)))
    await asyncio.gather(*(reply.until("text-delta", 3) for reply in replies))
    return list(replies)


async def until_cut(reply: Reply, events: list[Event]) -> None:
    """Reads what comes until the connection breaks."""
    try:
        async for event in reply.events():
            events.append(event)
    except aiohttp.ClientError:
        return


@pytest.mark.slow
async def test_killed(
    start_server: Start, session: aiohttp.ClientSession, world: World, books: Books, upstream: Upstream, stack: dict[str, str]
) -> None:
    """Within 30 s every hold is settled: at least what was delivered but for 2 s of it, never more."""
    server = await asyncio.to_thread(start_server)
    replies = await begin(Client(session, server.url), world)
    heard: dict[str, list[Event]] = {}
    reading = []
    for reply in replies:
        first = reply.received.decode()
        turn_id = re.search(r'"turnId":"(turn_[^"]+)"', first)[1]  # type: ignore[index]
        heard[turn_id] = [{"type": "text-delta", "textDelta": "".join(re.findall(r'"textDelta":"([^"]*)"', first))}]
        reply._taken = len(reply.received)
        reading.append(asyncio.ensure_future(until_cut(reply, heard[turn_id])))
    await asyncio.sleep(6.3)
    server.kill()
    killed_at = time.monotonic()
    await asyncio.gather(*reading)

    while books.rows("SELECT id FROM billing_reservation WHERE account_id = %s AND state = 'pending'", world.workspace_id):
        assert time.monotonic() - killed_at < 30
        await asyncio.sleep(3)
        done = await asyncio.to_thread(manage, stack, "shell", "-v", "0", "-c", SWEEP)
        assert done.returncode == 0, done.stderr

    charges = {row["turn_id"]: row["charged_nano"] for row in books.rows(
        "SELECT turn_id, charged_nano FROM billing_reservation WHERE account_id = %s", world.workspace_id
    )}  # fmt: skip
    assert charges.keys() == heard.keys()
    assert len(charges) == TURNS
    slack_tokens = 2 * RATE * WORD_BYTES // 4
    for turn_id, events in heard.items():
        delivered = tokens(text_of(events))
        assert delivered > 2 * slack_tokens / 2, "the test must be able to tell"
        assert charges[turn_id] <= price(tokens(PROMPT), delivered)
        assert charges[turn_id] >= price(tokens(PROMPT), delivered - slack_tokens) - OUTPUT_NANO // 1_000_000
    balance, held = books.account(world.workspace_id)
    assert (balance, held) == (world.granted - sum(charges.values()), 0)
    assert books.violations() == []

    await asyncio.sleep(max(0.0, killed_at + 30 - time.monotonic()))
    await asyncio.to_thread(manage, stack, "shell", "-v", "0", "-c", SWEEP)
    ended = await world.nothing_is_open(turns=TURNS)
    assert {turn["ending"] for turn in ended} == {"server_lost"}


@pytest.mark.parametrize("kind", ["uvicorn", "daphne"])
async def test_asked_to_end(
    start_server: Start, session: aiohttp.ClientSession, world: World, upstream: Upstream, kind: str
) -> None:
    """Each client gets its end, each turn is settled, new turns are refused meanwhile, and the process ends."""
    server = await asyncio.to_thread(start_server, kind, STREAM_DRAIN_S="1.5")
    client = Client(session, server.url)
    replies = await begin(client, world, TURNS - 1)
    short = await client.post(world.path, "scripted/slow?n=10&rate=20")
    await short.until("text-delta", 1)
    server.signal(signal.SIGTERM)
    await asyncio.sleep(0.3)
    async with await client.post(world.path, "one more") as late:
        assert (late.status, (await late.json())["code"]) == (503, "unavailable")
    rests = await asyncio.gather(*(reply.all() for reply in replies))

    assert kinds(await short.all())[-1] == "done"
    for events in rests:
        assert kinds(events)[-2:] == ["error", "done"]
        assert events[-2]["code"] == "server_restarting"
    ended = await world.nothing_is_open(turns=TURNS)
    assert [turn["ending"] for turn in ended].count("finished") == 1
    for turn in ended:
        if turn["ending"] != "finished":
            assert turn["ending"] == "server_restarting"
            assert turn["cost_nano"] == price(tokens(PROMPT), tokens(turn["answer"]))
    assert await asyncio.to_thread(server.wait, 10) in (0, -signal.SIGTERM)
