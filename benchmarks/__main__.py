"""`python -m benchmarks`: measures everything on this machine, in alternated rounds, and prints a table of medians."""

import argparse
import sys
import time
from collections.abc import Callable, Collection

import uvloop
from rich.console import Console

from benchmarks import pairs, report, streaming, world
from benchmarks.client import BadAnswer
from benchmarks.report import Figure
from benchmarks.streaming import Steady, median
from benchmarks.world import World
from helpmaton.stack.failure import Failure

PARTS = ("tokens", "opens", "ledger", "leaving", "stalled")
ROUNDS = 3
Say = Callable[[str], None]


def main() -> int:
    """Returns 0 when everything was measured, whatever came out; 1 where something failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures the product beside its peers. Takes about five minutes on two quiet cores. DATABASE_URL "
        "and REDIS_URL name servers of your own; a database is made there, and dropped by the next run.",
    )
    parser.add_argument("--quick", action="store_true", help="one short round of each: a first look, in a minute")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure only this part; may be repeated")
    options = parser.parse_args()
    begun = time.monotonic()
    progress = Console(stderr=True, highlight=False)

    def say(line: str) -> None:
        progress.print(f"[dim]{time.monotonic() - begun:5.0f} s[/dim]  {line}")

    try:
        say("PostgreSQL, Valkey, scripted provider")
        with world.world() as here:
            figures = uvloop.run(measure(here, options.only or PARTS, quick=options.quick, say=say))
    except (Failure, BadAnswer) as problem:
        progress.print(f"[red]{problem}[/red]")
        return 1
    minutes = (time.monotonic() - begun) / 60
    report.show(figures, Console(width=200), rounds=1 if options.quick else ROUNDS, minutes=minutes)
    return 0


async def measure(here: World, parts: Collection[str], *, quick: bool, say: Say) -> list[Figure]:
    """The figures of the chosen parts, in the order of PARTS."""
    rounds = 1 if quick else ROUNDS
    figures: list[Figure] = []
    if "tokens" in parts:
        figures += await _tokens(here, rounds, 100 if quick else streaming.TOKENS, say)
    if "opens" in parts:
        figures += await _opens(here, rounds, 2 if quick else 5, say)
    if "ledger" in parts:
        figures += _ledger(here, rounds, 2 if quick else 4, say)
    if "leaving" in parts:
        figures.append(await _leaving(here, 15 if quick else 60, say))
    if "stalled" in parts:
        figures.append(await _stalled(here, 2 if quick else 4, say))
    return figures


def _turns(names: list[str], rounds: int) -> list[tuple[int, str]]:
    """Who is measured when: the order turns round each time, so that a drift of the machine hits both."""
    return [(number + 1, name) for number in range(rounds) for name in (names if number % 2 == 0 else names[::-1])]


async def _tokens(here: World, rounds: int, tokens: int, say: Say) -> list[Figure]:
    seen: dict[str, list[Steady]] = {"helpmaton": [], "relay": []}
    for number, name in _turns(list(seen), rounds):
        async with world.serving(here, name) as server:
            one = await streaming.steady(here, server, tokens=tokens)
        seen[name].append(one)
        say(
            f"tokens {number}/{rounds}: {name} {one.us_per_token:.0f} µs/token, {one.kb_per_stream:.0f} kB/stream, "
            f"threads {one.threads[0]}→{one.threads[1]}, connections {one.connections[0]}→{one.connections[1]}"
        )
    ours, floor = seen["helpmaton"], seen["relay"]
    grown = [max(one.threads[1] - one.threads[0], one.connections[1] - one.connections[0]) for one in ours]
    load = f"{streaming.STREAMS} streams × {streaming.TOKENS_PER_S} tokens/s"
    return [
        Figure(
            f"CPU per token, {load}, whole turns",
            "µs",
            median([one.us_per_token for one in ours]),
            "bare ASGI relay",
            median([one.us_per_token for one in floor]),
            "ratio ≤ 2",
        ),
        Figure(
            "the same while all are open",
            "µs",
            median([one.us_per_token_open for one in ours]),
            "bare ASGI relay",
            median([one.us_per_token_open for one in floor]),
            "",
        ),
        Figure(
            f"memory per stream after {tokens} tokens",
            "kB",
            median([one.kb_per_stream for one in ours]),
            "bare ASGI relay",
            median([one.kb_per_stream for one in floor]),
            "≤ 40",
        ),
        Figure(f"threads and connections more with {streaming.STREAMS} open streams", "", max(grown), "", None, "≤ 0"),
    ]


async def _opens(here: World, rounds: int, seconds: float, say: Say) -> list[Figure]:
    rates: dict[str, list[float]] = {"helpmaton": [], "stock": [], "stock_turns": []}
    costs: dict[str, list[float]] = {name: [] for name in rates}
    for number, name in _turns(list(rates), rounds):
        async with world.serving(here, name) as server:
            per_s, cpu_ms = await streaming.opens(server, seconds=seconds)
        rates[name].append(per_s)
        costs[name].append(cpu_ms)
        say(f"opens {number}/{rounds}: {name} {per_s:.0f} a second, {cpu_ms:.2f} ms of CPU each")
    what = f"whole turns opened per second, {streaming.CLIENTS} at a time"
    same, bare = "the same job, default middleware and ORM", "default middleware, no credential, no credits"
    return [
        Figure(what, "/s", median(rates["helpmaton"]), same, median(rates["stock_turns"]), "ratio ≥ 3"),
        Figure(what, "/s", median(rates["helpmaton"]), bare, median(rates["stock"]), "ratio ≥ 3"),
        Figure("CPU of the server for each", "ms", median(costs["helpmaton"]), same, median(costs["stock_turns"]), ""),
        Figure("CPU of the server for each", "ms", median(costs["helpmaton"]), bare, median(costs["stock"]), ""),
    ]


def _ledger(here: World, rounds: int, seconds: float, say: Say) -> list[Figure]:
    seen: dict[str, list[float]] = {"door": [], "orm": [], "pgbench": [], "pgbench_kept": []}
    for number, name in _turns(list(seen), rounds):
        seen[name].append(pairs.measure(here, name, seconds=seconds))
        say(f"ledger {number}/{rounds}: {name} {seen[name][-1]:.0f} pairs a second")
    ours = median(seen["door"])
    what = f"reserve and settle pairs, {pairs.IN_FLIGHT} in flight, one account"
    return [
        Figure(what, "/s", ours, "select_for_update, ORM", median(seen["orm"]), "ratio ≥ 10"),
        Figure(what, "/s", ours, "two statements, the same rows, pgbench", median(seen["pgbench_kept"]), "ratio ≥ 3"),
        Figure(what, "/s", ours, "two bare UPDATEs, no rows, pgbench", median(seen["pgbench"]), "ratio ≥ 3"),
    ]


async def _leaving(here: World, times: int, say: Say) -> Figure:
    async with world.serving(here, "helpmaton") as server:
        took = await streaming.leaving(here, server, times=times)
    say(f"leaving: median {median(took):.1f} ms, longest {took[-1]:.1f} ms")
    return Figure("client leaves until the provider's socket is closed, p50", "ms", median(took), "", None, "≤ 10")


async def _stalled(here: World, seconds: float, say: Say) -> Figure:
    async with world.serving(here, "helpmaton") as server:
        grown = await streaming.stalled(here, server, readers=8, seconds=seconds)
    say(f"stalled: {grown:.2f} MiB each")
    return Figure("memory for a reader that stops reading", "MiB", grown, "", None, "≤ 1")


if __name__ == "__main__":
    sys.exit(main())
