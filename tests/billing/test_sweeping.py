"""The sweep: lapsed holds are settled from their readings, a damaged account keeps nobody else waiting."""

import pytest
from django.db import connection

from billing import ids, ledger, sweeping
from tests.billing.books import Books, books, lapse, open_account

pytestmark = pytest.mark.django_db(transaction=True)


def lapsed_turn(account: str, used_nano: int) -> str:
    turn = ids.new("turn")
    ledger.apply(
        [
            ledger.reserve(account=account, turn=turn, amount_nano=100, least_nano=100),
            ledger.read(account=account, turn=turn, used_nano=used_nano),
        ]
    )
    lapse(turn)
    return turn


def test_lapsed_holds_are_settled_from_their_readings() -> None:
    one, other = open_account(1_000), open_account(1_000)
    lapsed_turn(one, 30)
    lapsed_turn(other, 0)
    assert sweeping.sweep_lapsed_holds() == 2
    assert (books(one), books(other)) == (Books(970, 0), Books(1_000, 0))
    assert sweeping.sweep_lapsed_holds() == 0


def test_a_damaged_account_is_swept_alone() -> None:
    healthy, damaged = open_account(1_000), open_account(1_000)
    lapsed_turn(healthy, 30)
    lapsed_turn(damaged, 30)
    with connection.cursor() as cursor:  # the number that its next entry would get is taken
        cursor.execute("UPDATE billing_creditaccount SET last_entry = 0 WHERE workspace_id = %s", [damaged])
    sweeping.sweep_lapsed_holds()
    assert books(healthy) == Books(970, 0)
    assert books(damaged) == Books(1_000, 100)
