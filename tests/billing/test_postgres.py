"""Reads from the event loop: shared by all that ask at once, never older than the question, alive after a restart."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
import pytest_asyncio

from billing import postgres
from billing.postgres import SharedRead

pytestmark = pytest.mark.django_db(transaction=True)


@pytest_asyncio.fixture
async def reads(monkeypatch) -> AsyncIterator[list[list[object]]]:
    """The parameters of every read that reaches the database, which they really do."""
    seen: list[list[object]] = []
    fetch = postgres.fetch_one

    async def counting(statement, parameters):
        seen.append(list(parameters))
        return await fetch(statement, parameters)

    monkeypatch.setattr(postgres, "fetch_one", counting)
    yield seen
    await postgres.close()


async def test_a_hundred_questions_at_once_cost_two_reads(reads):
    shared = SharedRead("SELECT %s::int AS number, pg_sleep(0.05)")
    first = asyncio.create_task(shared.row(7))
    await asyncio.sleep(0.01)
    rows = await asyncio.gather(first, *(shared.row(7) for _ in range(99)))
    assert {row["number"] for row in rows} == {7}
    assert len(reads) == 2
    assert not shared._next
    assert not shared._under_way


async def test_no_answer_is_older_than_its_question(reads):
    shared = SharedRead("SELECT clock_timestamp() AS at, pg_sleep(0.05), %s::text")
    first = asyncio.create_task(shared.row("x"))
    await asyncio.sleep(0.02)
    asked = (await postgres.fetch_one("SELECT clock_timestamp() AS at", []))["at"]
    late = await shared.row("x")
    assert late["at"] >= asked > (await first)["at"]


async def test_other_parameters_are_other_questions(reads):
    shared = SharedRead("SELECT %s::int AS number")
    rows = await asyncio.gather(*(shared.row(number % 3) for number in range(9)))
    assert [row["number"] for row in rows] == [number % 3 for number in range(9)]
    assert len(reads) == 3


async def test_who_leaves_takes_nobody_along_and_a_failure_reaches_all(reads):
    shared = SharedRead("SELECT 1 / %s::int AS one, pg_sleep(0.02)")
    asked = [asyncio.create_task(shared.row(1)) for _ in range(3)]
    await asyncio.sleep(0)
    asked[0].cancel()
    assert [row["one"] for row in await asyncio.gather(*asked[1:])] == [1, 1]
    failed = await asyncio.gather(*(shared.row(0) for _ in range(2)), return_exceptions=True)
    assert [type(error) for error in failed] == [psycopg.errors.DivisionByZero] * 2
    assert (await shared.row(1))["one"] == 1


async def test_reads_go_on_after_every_connection_was_lost(reads):
    await asyncio.gather(*(postgres.fetch_one("SELECT pg_sleep(0.02)", []) for _ in range(postgres.POOL_SIZE)))
    async with await psycopg.AsyncConnection.connect(postgres.conninfo(), autocommit=True) as other:
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert await postgres.fetch_one("SELECT 1 AS one", []) == {"one": 1}
