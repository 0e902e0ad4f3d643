"""What streams cost: CPU per token, memory, threads and connections per stream, opens per second, leaving, stalling."""

import asyncio
import statistics
import time
from typing import NamedTuple

import psycopg

from benchmarks import client, probe, world
from benchmarks.world import Server, World

STREAMS = 200
TOKENS_PER_S = 20
TOKENS = 300
"""How many tokens each stream has when its memory is read."""
RAMP_S = 2.0
CLIENTS = 16
ROOMIEST_ANSWER = 200_000
"""The longest answer that an agent may be allowed, in tokens."""


class Steady(NamedTuple):
    """One round of STREAMS paced streams: CPU over their whole life and while all were open, memory at TOKENS each."""

    us_per_token: float
    us_per_token_open: float
    kb_per_stream: float
    threads: tuple[int, int]
    """Without streams, with all of them open."""
    connections: tuple[int, int]
    """Of PostgreSQL; the same."""


async def steady(here: World, server: Server, *, tokens: int) -> Steady:
    """Opens the streams, reads `tokens` of each, and goes on until every one has ended."""
    rest = int(TOKENS_PER_S * (RAMP_S + 3))
    idle_kb, threads = probe.rss_kb(server.pid), probe.threads(server.pid)
    connections = world.database_connections(here)
    begun_cpu = probe.cpu_s(server.pid)
    ask = server.request(f"scripted/slow?n={tokens + rest}&rate={TOKENS_PER_S}")
    clients = await client.open_all(server.port, ask, streams=STREAMS, ramp_s=RAMP_S)
    open_cpu, open_tokens = probe.cpu_s(server.pid), sum(one.tokens for one in clients)
    await client.until(clients, tokens, seconds=3 * tokens / TOKENS_PER_S + 30)
    read_cpu, read_tokens = probe.cpu_s(server.pid), sum(one.tokens for one in clients)
    if any(one.over.done() for one in clients):
        raise client.BadAnswer("a stream was over before the others had their tokens: the machine is too slow")
    full_kb, full_threads = probe.rss_kb(server.pid), probe.threads(server.pid)
    full_connections = world.database_connections(here)
    await asyncio.gather(*(one.over for one in clients))
    await asyncio.sleep(0.1)
    whole_cpu, whole_tokens = probe.cpu_s(server.pid) - begun_cpu, sum(one.tokens for one in clients)
    for one in clients:
        one.close()
    if whole_tokens != STREAMS * (tokens + rest):
        raise client.BadAnswer(f"{whole_tokens} tokens came, not {STREAMS * (tokens + rest)}")
    return Steady(
        us_per_token=whole_cpu / whole_tokens * 1e6,
        us_per_token_open=(read_cpu - open_cpu) / (read_tokens - open_tokens) * 1e6,
        kb_per_stream=(full_kb - idle_kb) * 1.024 / STREAMS,
        threads=(threads, full_threads),
        connections=(connections, full_connections),
    )


async def opens(server: Server, *, seconds: float) -> tuple[float, float]:
    """Answers of one token per second, CLIENTS at a time, and the server's CPU in milliseconds for each."""
    before = probe.cpu_s(server.pid)
    ask = server.request("scripted/slow?n=1&rate=0")
    per_s = await client.opens(server.port, ask, clients=CLIENTS, seconds=seconds)
    return per_s, (probe.cpu_s(server.pid) - before) / (per_s * seconds) * 1e3


async def leaving(here: World, server: Server, *, times: int) -> list[float]:
    """Milliseconds from a client's leaving until the provider sees its connection closed, sorted.

    The streams say a word in two seconds, so that no write gives the leaving away.
    """
    world.journal(here, forget=True)
    ask = server.request("scripted/slow?n=100&rate=0.5")
    left_at = []
    for _ in range(times):
        [one] = await client.open_all(server.port, ask, streams=1, ramp_s=0)
        await asyncio.sleep(0.03)
        one.close()
        left_at.append(time.monotonic())
        await asyncio.sleep(0.03)
    await asyncio.sleep(0.5)
    closed_at = [exchange["client_closed_at"] for exchange in world.journal(here)]
    if len(closed_at) != times or None in closed_at:
        raise client.BadAnswer(f"of {times} answers {sum(at is not None for at in closed_at)} were closed")
    return sorted((closed - left) * 1e3 for closed, left in zip(closed_at, left_at, strict=True))


async def stalled(here: World, server: Server, *, readers: int, seconds: float) -> float:
    """MiB that the server grows by for each reader that stops reading, at most, while the provider floods.

    The agent is allowed the longest answer there is, and readers stop before their first byte.
    """
    _allow(here, ROOMIEST_ANSWER)
    try:
        idle_kb = most_kb = probe.rss_kb(server.pid)
        ask = server.request("scripted/flood?n=1000000")
        stopped = [await client.connect(server.port) for _ in range(readers)]
        for one in stopped:
            one.ask(ask)
            one.transport.pause_reading()
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            most_kb = max(most_kb, probe.rss_kb(server.pid))
            await asyncio.sleep(0.02)
        for one in stopped:
            one.close()
        return (most_kb - idle_kb) / 1024 / readers
    finally:
        _allow(here, 4096)


def _allow(here: World, tokens: int) -> None:
    with psycopg.connect(here.database_url) as connection:
        connection.execute("UPDATE agents_agent SET max_output_tokens = %s WHERE id = %s", [tokens, here.agent])


def median(rounds: list[float]) -> float:
    """The median, as every figure of several rounds is told."""
    return statistics.median(rounds)
