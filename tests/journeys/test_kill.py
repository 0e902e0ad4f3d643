"""Servers that end while turns run: killed without a word, and asked to end."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.journeys.books import OUTPUT_NANO, Books, price, tokens
from tests.journeys.conftest import Start
from tests.journeys.server import ROOT, Server, manage
from tests.journeys.talk import Client, Event, Reply, kinds, text_of
from tests.journeys.world import World
from tests.upstream.server import Upstream

TURNS = 50
RATE = 20
PROMPT = f"scripted/slow?n=2000&rate={RATE}"
SWEEP = "from streams.tasks import sweep; sweep()"
WORD_BYTES = len("tok1999 ")


async def begin(client: Client, world: World, count: int = TURNS) -> list[tuple[Reply, list[Event]]]:
    """As many turns, each having said something, and what they said."""
    replies = await asyncio.gather(*(client.post(world.path, PROMPT) for _ in range(count)))
    heard = await asyncio.gather(*(reply.until("text-delta", 3) for reply in replies))
    return list(zip(replies, heard, strict=True))


async def until_cut(reply: Reply, events: list[Event]) -> None:
    """Reads what comes until the connection breaks."""
    with contextlib.suppress(aiohttp.ClientError):
        async for event in reply.events():
            events.append(event)  # noqa: PERF401 - one by one: what came before the break counts


@contextlib.contextmanager
def sweeping(stack: dict[str, str], folder: Path) -> Iterator[None]:
    """A real worker with its clock, as beside every server."""
    command = [sys.executable, "-m", "celery", "-A", "helpmaton", "--quiet", "worker", "-B", "--concurrency", "1"]
    command += ["--schedule", str(folder / "beat"), "--hostname", f"sweeper@{folder.name}"]
    with (folder / "worker.log").open("wb") as log:
        environment = {**os.environ, **stack}
        worker = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            yield
        finally:
            worker.terminate()
            worker.wait(20)


async def killed(server: Server, running: list[tuple[Reply, list[Event]]], books: Books, world: World) -> None:
    """`kill -9` in the middle; returns when every hold is settled, which nothing but the worker does."""
    reading = [asyncio.ensure_future(until_cut(reply, events)) for reply, events in running]
    await asyncio.sleep(6.3)
    server.kill()
    killed_at = time.monotonic()
    await asyncio.gather(*reading)
    while books.account(world.workspace_id)[1]:
        assert time.monotonic() - killed_at < 30
        await asyncio.sleep(0.5)


@pytest.mark.slow
async def test_killed(
    start_server: Start,
    session: aiohttp.ClientSession,
    world: World,
    books: Books,
    upstream: Upstream,
    stack: dict[str, str],
    tmp_path: Path,
) -> None:
    """Within 30 s every hold is settled: at least what was delivered but for 2 s of it, never more."""
    server = await asyncio.to_thread(start_server)
    with sweeping(stack, tmp_path):
        running = await begin(Client(session, server.url), world)
        await killed(server, running, books, world)
    heard = {events[0]["turnId"]: events for _, events in running}
    holds = books.rows("SELECT * FROM billing_reservation WHERE account_id = %s", world.workspace_id)
    charges = {hold["turn_id"]: hold["charged_nano"] for hold in holds}
    assert charges.keys() == heard.keys()
    assert len(charges) == TURNS
    slack_tokens = 2 * RATE * WORD_BYTES // 4
    for turn_id, events in heard.items():
        delivered = tokens(text_of(events))
        assert delivered > slack_tokens, "the test must be able to tell"
        assert charges[turn_id] <= price(tokens(PROMPT), delivered)
        assert charges[turn_id] >= price(tokens(PROMPT), delivered - slack_tokens) - OUTPUT_NANO // 1_000_000
    balance, held = books.account(world.workspace_id)
    assert (balance, held) == (world.granted - sum(charges.values()), 0)
    assert books.violations() == []

    # The turns themselves are closed a while after their holds, lest one that still settles be overtaken.
    books.run(
        "UPDATE billing_reservation SET closed_at = closed_at - interval '11 seconds' WHERE account_id = %s",
        world.workspace_id,
    )
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
    running = await begin(client, world, TURNS - 1)
    short = await client.post(world.path, "scripted/slow?n=10&rate=20")
    await short.until("text-delta", 1)
    server.signal(signal.SIGTERM)
    await asyncio.sleep(0.3)
    async with await client.post(world.path, "one more") as late:
        assert (late.status, (await late.json())["code"]) == (503, "unavailable")
    rests = await asyncio.gather(*(reply.all() for reply, _ in running))

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
