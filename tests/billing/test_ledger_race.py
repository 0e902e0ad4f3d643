"""1,000 reserves in flight from four processes on one account with 5 USD, and the proof that this test sees a race.

The control runs the same on a copy of the function without its lock: there the account gives away more than it has.
"""

import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from billing import audit, ids, ledger, money, postgres
from billing.ledger import Item, Outcome
from tests.billing.books import Books, books, open_account

SQL = Path(ledger.__file__).parent / "sql" / "ledger_apply.sql"
ROOT = Path(ledger.__file__).parent.parent
PROCESSES = 4
CONNECTIONS = 8  # each process's
CREDIT = 5 * money.NANO


class Answered(NamedTuple):
    """What became of an item that asked for `amount` nano-dollars."""

    amount: int
    outcome: Outcome


def race(function: str, items: Sequence[Item], *, connections: int = CONNECTIONS) -> list[Answered]:
    """Sends the items from four processes at once, each over its own connections, or through its own door."""
    shares = [items[n::PROCESSES] for n in range(PROCESSES)]
    racers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.billing.racer"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in shares
    ]
    try:
        for racer, share in zip(racers, shares, strict=True):
            job = {
                "conninfo": postgres.conninfo(),
                "connections": connections,
                "statement": ledger.STATEMENT.replace("ledger_apply", function),
                "items": json.loads(ledger.encode(share)),
            }
            racer.stdin.write(json.dumps(job) + "\n")
            racer.stdin.flush()
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        answers = [json.loads(racer.communicate(timeout=60)[0]) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    return [
        Answered(item.amount, Outcome(*row))
        for share, rows in zip(shares, answers, strict=True)
        for item, row in zip(share, rows, strict=True)
    ]


def reserves(account: str, amounts: Sequence[int]) -> list[Item]:
    return [
        ledger.reserve(account=account, turn=ids.new("turn"), amount_nano=amount, least_nano=amount)
        for amount in amounts
    ]


@pytest.fixture
def unlocked(transactional_db) -> Iterator[str]:
    """The ledger's function without its lock, under another name."""
    source = SQL.read_text()
    assert source.count("FOR NO KEY UPDATE") == 1
    source = source.replace("FOR NO KEY UPDATE", "").replace("FUNCTION ledger_apply(", "FUNCTION ledger_unlocked(")
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        connection.execute(source)
        yield "ledger_unlocked"
        connection.execute("DROP FUNCTION ledger_unlocked(jsonb)")


def held_in_holds(account: str) -> int:
    with psycopg.connect(postgres.conninfo()) as connection:
        [total] = connection.execute(
            "SELECT coalesce(sum(amount_nano), 0)::bigint FROM billing_reservation"
            " WHERE account_id = %s AND state = 'pending'",
            [account],
        ).fetchone()
    return total


@pytest.mark.django_db(transaction=True)
def test_equal_reserves_fill_the_account_to_the_last_nano() -> None:
    account = open_account(CREDIT)
    answered = race("ledger_apply", reserves(account, [CREDIT // 500] * 1_000))
    assert sorted(each.outcome.outcome for each in answered) == ["held"] * 500 + ["insufficient"] * 500
    assert books(account) == Books(CREDIT, CREDIT)
    assert held_in_holds(account) == CREDIT
    assert audit.violations() == []


@pytest.mark.django_db(transaction=True)
def test_a_thousand_at_once_through_four_doors_fill_it_just_as_well() -> None:
    account = open_account(CREDIT)
    answered = race("ledger_apply", reserves(account, [CREDIT // 500] * 1_000), connections=0)
    assert sorted(each.outcome.outcome for each in answered) == ["held"] * 500 + ["insufficient"] * 500
    assert books(account) == Books(CREDIT, CREDIT)
    assert audit.violations() == []


@pytest.mark.django_db(transaction=True)
def test_unequal_reserves_never_go_over_and_none_that_would_have_fitted_is_refused() -> None:
    account = open_account(CREDIT)
    dice = random.Random(7)
    amounts = [dice.randrange(1, CREDIT // 300) for _ in range(1_000)]
    answered = race("ledger_apply", reserves(account, amounts))
    held = [each.amount for each in answered if each.outcome.outcome == "held"]
    assert len(answered) == 1_000
    assert sum(held) == held_in_holds(account) == books(account).held <= CREDIT
    assert 0 < len(held) < 1_000
    for amount, outcome in answered:
        if outcome.outcome == "insufficient":
            assert amount > outcome.available, "it would have fitted"
    assert audit.violations() == []


@pytest.mark.django_db(transaction=True)
def test_without_the_lock_the_account_gives_away_more_than_it_has(unlocked: str) -> None:
    account = open_account(CREDIT)
    race(unlocked, reserves(account, [CREDIT // 500] * 1_000))
    assert held_in_holds(account) > CREDIT
    assert {each.law for each in audit.violations()} >= {"what is held is the sum of the pending holds"}
