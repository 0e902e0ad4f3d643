"""The connection to PostgreSQL is cut 500 times around the commit of `ledger_apply`; the door asks again.

A call settles the last turn, reserves for the next one and grants a little, on half of the calls with a rider. However
the cut falls, each item has one outcome, which is also the answer when it is asked for once more, and the books hold
exactly what the outcomes say.
"""

import asyncio
import random

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from billing import audit, ids, ledger, postgres
from billing.door import Door, Rider
from billing.ledger import Item, Outcome
from tests.billing.books import Books, books, open_account
from tests.billing.cutting_proxy import Cut, CuttingProxy

CUTS = 500
OPENING = 10_000_000
HOLD = 1_000
RIDE = "INSERT INTO cut_riders (turn) VALUES (%s) ON CONFLICT DO NOTHING"


def next_cut(dice: random.Random, last_call: dict[str, int]) -> Cut:
    """Somewhere in the request, somewhere in the answer, or some time after the call began."""
    kind = dice.choice(["request", "answer", None])
    if kind is None:
        return Cut(delay_s=dice.uniform(0, 0.004))
    return Cut(kind, size=dice.randrange(max(1, last_call[kind])))


async def cut_calls(account: str, dice: random.Random) -> tuple[CuttingProxy, list[tuple[Item, Outcome]], list[str]]:
    """Every item with the outcome the door gave, and the turns that had a rider."""
    place = conninfo_to_dict(postgres.conninfo())
    answered: list[tuple[Item, Outcome]] = []
    ridden: list[str] = []
    last_turn = ids.new("turn")
    async with CuttingProxy(str(place.get("host", "localhost")), int(place.get("port", 5432))) as proxy:
        door = Door(
            make_conninfo(
                postgres.conninfo(), host="127.0.0.1", port=proxy.listens_on, sslmode="disable", gssencmode="disable"
            )
        )
        last_call = {"request": 0, "answer": 0}
        while proxy.cuts < CUTS:
            turn = ids.new("turn")
            items = [
                ledger.settle(account=account, turn=last_turn, used_nano=dice.randrange(HOLD), estimated=False),
                ledger.reserve(account=account, turn=turn, amount_nano=HOLD, least_nano=HOLD),
                ledger.grant(account=account, amount_nano=dice.randrange(1, 10), reason="a little"),
            ]
            rider = Rider(RIDE, [turn]) if dice.random() < 0.5 else None
            proxy.arm(next_cut(dice, last_call) if last_call["answer"] else None)
            outcomes = await asyncio.gather(*(door.submit(item, rider) for item in items))
            last_call = proxy.passed
            proxy.arm(None)
            answered += zip(items, outcomes, strict=True)
            ridden += [turn] if rider else []
            last_turn = turn
        await door.aclose()
    return proxy, answered, ridden


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_a_cut_commit_leaves_each_item_one_outcome_and_the_books_right() -> None:
    account = open_account(OPENING)
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        connection.execute("CREATE TABLE cut_riders (turn text PRIMARY KEY)")
        try:
            proxy, answered, ridden = asyncio.run(cut_calls(account, random.Random(20)))
            rows = {turn for (turn,) in connection.execute("SELECT turn FROM cut_riders").fetchall()}
        finally:
            connection.execute("DROP TABLE cut_riders")

    assert proxy.cuts == CUTS
    assert min(proxy.cuts_answered, proxy.cuts_unanswered) > CUTS // 10, "the cuts fell on both sides of the commit"
    assert rows == set(ridden), "what rode with an item came through with it, once"

    settles = [(item, outcome) for item, outcome in answered if item.op == "settle"][1:]  # the first finds no hold
    assert {outcome.outcome for _, outcome in settles} == {"settled"}
    assert all(outcome.charged == item.amount for item, outcome in settles)
    granted = sum(item.amount for item, _ in answered if item.op == "grant")
    charged = sum(outcome.charged for _, outcome in settles)
    assert books(account) == Books(OPENING + granted - charged, HOLD)
    assert audit.violations() == []

    for item, outcome in answered:
        [again] = ledger.apply([item])
        if item.op == "reserve" and item is not answered[-2][0]:
            assert (outcome.outcome, again.outcome) == ("held", "closed")  # its turn was settled since
        else:
            assert again[:4] == outcome[:4]
    assert books(account) == Books(OPENING + granted - charged, HOLD)
