"""The asynchronous door: groups, poisoned items, riders, lost connections."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
import pytest_asyncio
from django.db import connection
from psycopg.conninfo import make_conninfo

from billing import ids, ledger, postgres
from billing.audit import violations
from billing.door import Door, LedgerFault, LedgerUnavailable, Rider
from tests.billing.books import books, open_account

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def funded_account() -> str:
    return open_account(1_000_000)


@pytest_asyncio.fixture
async def door() -> AsyncIterator[Door]:
    door = Door(postgres.conninfo())
    yield door
    await door.aclose()


def closing(work):
    """Run synchronous work on a thread, and leave no connection behind."""
    try:
        return work()
    finally:
        connection.close()


def hold(account: str, amount: int = 100) -> ledger.Item:
    return ledger.reserve(account=account, turn=ids.new("turn"), amount_nano=amount, least_nano=amount)


async def test_what_waits_goes_together(door, funded_account):
    await door.submit(hold(funded_account))
    door.calls = 0
    outcomes = await asyncio.gather(*[door.submit(hold(funded_account)) for _ in range(200)])
    assert {outcome.outcome for outcome in outcomes} == {"held"}
    assert outcomes[-1].available == 1_000_000 - 201 * 100
    assert door.calls <= 2


async def test_order_is_kept(door, funded_account):
    held = hold(funded_account)
    settle = ledger.settle(account=funded_account, turn=held.turn, used_nano=70, estimated=False)
    first, second = await asyncio.gather(door.submit(held), door.submit(settle))
    assert (first.outcome, second.outcome, second.charged) == ("held", "settled", 70)


async def test_a_poisoned_item_fails_alone(door, funded_account):
    poison = ledger.settle(account=funded_account, turn=ids.new("turn"), used_nano=-5, estimated=False)
    good = [hold(funded_account) for _ in range(5)]
    outcomes = await asyncio.gather(
        *[door.submit(item) for item in (*good[:3], poison, *good[3:])], return_exceptions=True
    )
    assert isinstance(outcomes[3], LedgerFault)
    assert [outcome.outcome for i, outcome in enumerate(outcomes) if i != 3] == ["held"] * 5
    assert await asyncio.to_thread(closing, violations) == []


async def test_a_failing_rider_never_stands_in_the_way_of_money(door, funded_account):
    outcome = await door.submit(hold(funded_account), Rider("SELECT 1/0", []))
    assert outcome.outcome == "held"
    neighbour, alone = await asyncio.gather(
        door.submit(hold(funded_account), Rider("SELECT 1", [])),
        door.submit(hold(funded_account), Rider("SELECT * FROM nowhere", [])),
    )
    assert (neighbour.outcome, alone.outcome) == ("held", "held")


async def test_a_rider_that_waits_for_a_lock_holds_up_no_money_and_is_written_later(door, funded_account):
    rider = Rider("UPDATE agents_workspace SET name = %s WHERE id = %s", ["ridden", funded_account])
    async with await psycopg.AsyncConnection.connect(postgres.conninfo()) as other:
        await other.execute("SELECT 1 FROM agents_workspace WHERE id = %s FOR UPDATE", [funded_account])
        async with asyncio.timeout(5):
            with_rider, neighbour = await asyncio.gather(
                door.submit(hold(funded_account), rider), door.submit(hold(funded_account))
            )
        assert (with_rider.outcome, neighbour.outcome) == ("held", "held")
    await asyncio.gather(*door._late_riders)
    row = await postgres.fetch_one("SELECT name FROM agents_workspace WHERE id = %s", [funded_account])
    await postgres.close()
    assert row == {"name": "ridden"}


async def test_a_rider_is_written_with_its_item(door, funded_account):
    held = hold(funded_account)
    rider = Rider("UPDATE agents_workspace SET name = %s WHERE id = %s", ["ridden", funded_account])
    await door.submit(held, rider)
    row = await postgres.fetch_one("SELECT name FROM agents_workspace WHERE id = %s", [funded_account])
    await postgres.close()
    assert row == {"name": "ridden"}


async def test_a_lost_connection_is_made_again(door, funded_account):
    await door.submit(hold(funded_account))
    pid = door._connection.info.backend_pid
    async with await psycopg.AsyncConnection.connect(postgres.conninfo(), autocommit=True) as other:
        await other.execute("SELECT pg_terminate_backend(%s)", [pid])
    assert (await door.submit(hold(funded_account))).outcome == "held"


async def test_an_account_that_somebody_has_locked_is_waited_for(funded_account):
    door = Door(make_conninfo(postgres.conninfo(), options="-c lock_timeout=100"))
    async with await psycopg.AsyncConnection.connect(postgres.conninfo()) as other:
        await other.execute("SELECT 1 FROM billing_creditaccount WHERE workspace_id = %s FOR UPDATE", [funded_account])
        waiting = asyncio.create_task(door.submit(hold(funded_account)))
        await asyncio.sleep(0.5)
        assert not waiting.done()
    assert (await waiting).outcome == "held"
    await door.aclose()


async def test_patience_ends_and_the_door_lives_on(funded_account):
    door = Door("host=127.0.0.1 port=1 dbname=nowhere connect_timeout=1")
    with pytest.raises(LedgerUnavailable):
        await door.submit(hold(funded_account), patience_s=0.2)
    door._conninfo = postgres.conninfo()
    assert (await door.submit(hold(funded_account))).outcome == "held"
    await door.aclose()


async def test_a_cancelled_caller_does_not_call_the_item_back(door, funded_account):
    held = hold(funded_account, 500)
    caller = asyncio.create_task(door.submit(held))
    await asyncio.sleep(0)
    caller.cancel()
    again = await door.submit(held)
    assert again.outcome == "held"
    assert (await asyncio.to_thread(closing, lambda: books(funded_account))).held == 500
