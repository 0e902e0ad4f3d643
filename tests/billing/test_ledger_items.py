"""Every item in every state of a hold: what it answers, what it moves, and that asking again moves nothing more.

Amounts are nano-dollars; each account begins with 1,000 and each hold is of 100 with 30 read.
"""

import pytest
from django.db import DataError, IntegrityError, connection, transaction
from django.db.utils import ProgrammingError

from billing import audit, ids, ledger
from billing.ledger import Item, Outcome
from billing.models import LedgerEntry
from tests.billing.books import Books, books, hold_of, lapse, open_account

pytestmark = pytest.mark.django_db


@pytest.fixture
def account() -> str:
    return open_account(1_000)


@pytest.fixture
def turn() -> str:
    return ids.new("turn")


def one(item: Item) -> Outcome:
    [outcome] = ledger.apply([item])
    return outcome


def reserve(account: str, turn: str) -> Item:
    return ledger.reserve(account=account, turn=turn, amount_nano=100, least_nano=50)


def extend(account: str, turn: str) -> Item:
    return ledger.extend(account=account, turn=turn, amount_nano=50)


def read(account: str, turn: str) -> Item:
    return ledger.read(account=account, turn=turn, used_nano=60)


def settle(account: str, turn: str) -> Item:
    return ledger.settle(account=account, turn=turn, used_nano=70, estimated=False)


def release(account: str, turn: str) -> Item:
    return ledger.release(account=account, turn=turn)


def sweep(account: str, turn: str) -> Item:
    return ledger.sweep(account=account)


def bring_into(state: str, account: str, turn: str) -> None:
    if state == "none":
        return
    if state == "tombstone":
        one(settle(account, turn))
        return
    if state == "refused":
        assert one(ledger.reserve(account=account, turn=turn, amount_nano=5_000, least_nano=2_000))[0] == "insufficient"
        return
    one(reserve(account, turn))
    one(ledger.read(account=account, turn=turn, used_nano=30))
    if state in ("lapsed", "expired", "adjusted"):
        lapse(turn)
    if state == "expired":
        one(ledger.sweep(account=account))
    if state in ("settled", "adjusted"):
        one(ledger.settle(account=account, turn=turn, used_nano=40, estimated=False))
    if state == "released":
        one(release(account, turn))


# state, item -> outcome, amount, charged, uncovered, then balance and held afterwards
TABLE = {
    ("none", reserve): ("held", 100, 0, 0, 1_000, 100),
    ("none", extend): ("closed", 0, 0, 0, 1_000, 0),
    ("none", read): ("closed", 0, 0, 0, 1_000, 0),
    ("none", settle): ("closed", 0, 0, 70, 1_000, 0),
    ("none", release): ("closed", 0, 0, 0, 1_000, 0),
    ("none", sweep): ("swept", 0, 0, 0, 1_000, 0),
    ("pending", reserve): ("closed", 0, 0, 0, 1_000, 100),
    ("pending", extend): ("held", 150, 0, 0, 1_000, 150),
    ("pending", read): ("held", 100, 0, 0, 1_000, 100),
    ("pending", settle): ("settled", 0, 70, 0, 930, 0),
    ("pending", release): ("released", 0, 0, 0, 1_000, 0),
    ("pending", sweep): ("swept", 0, 0, 0, 1_000, 100),
    ("lapsed", reserve): ("closed", 0, 0, 0, 970, 0),
    ("lapsed", extend): ("closed", 0, 0, 0, 970, 0),
    ("lapsed", read): ("closed", 0, 0, 0, 970, 0),
    ("lapsed", settle): ("adjusted", 0, 70, 0, 930, 0),
    ("lapsed", release): ("adjusted", 0, 0, 0, 1_000, 0),
    ("lapsed", sweep): ("swept", 0, 0, 0, 970, 0),
    ("expired", reserve): ("closed", 0, 0, 0, 970, 0),
    ("expired", extend): ("closed", 0, 0, 0, 970, 0),
    ("expired", read): ("closed", 0, 0, 0, 970, 0),
    ("expired", settle): ("adjusted", 0, 70, 0, 930, 0),
    ("expired", release): ("adjusted", 0, 0, 0, 1_000, 0),
    ("expired", sweep): ("swept", 0, 0, 0, 970, 0),
    ("adjusted", reserve): ("closed", 0, 0, 0, 960, 0),
    ("adjusted", extend): ("closed", 0, 0, 0, 960, 0),
    ("adjusted", read): ("closed", 0, 0, 0, 960, 0),
    ("adjusted", settle): ("closed", 0, 40, 0, 960, 0),
    ("adjusted", release): ("closed", 0, 40, 0, 960, 0),
    ("settled", reserve): ("closed", 0, 0, 0, 960, 0),
    ("settled", extend): ("closed", 0, 0, 0, 960, 0),
    ("settled", read): ("closed", 0, 0, 0, 960, 0),
    ("settled", settle): ("closed", 0, 40, 0, 960, 0),
    ("settled", release): ("closed", 0, 40, 0, 960, 0),
    ("released", reserve): ("closed", 0, 0, 0, 1_000, 0),
    ("released", extend): ("closed", 0, 0, 0, 1_000, 0),
    ("released", read): ("closed", 0, 0, 0, 1_000, 0),
    ("released", settle): ("closed", 0, 0, 0, 1_000, 0),
    ("released", release): ("closed", 0, 0, 0, 1_000, 0),
    ("tombstone", reserve): ("closed", 0, 0, 0, 1_000, 0),
    ("tombstone", extend): ("closed", 0, 0, 0, 1_000, 0),
    ("tombstone", read): ("closed", 0, 0, 0, 1_000, 0),
    ("tombstone", settle): ("closed", 0, 0, 70, 1_000, 0),
    ("tombstone", release): ("closed", 0, 0, 70, 1_000, 0),
    ("refused", reserve): ("closed", 0, 0, 0, 1_000, 0),
    ("refused", extend): ("closed", 0, 0, 0, 1_000, 0),
    ("refused", read): ("closed", 0, 0, 0, 1_000, 0),
    ("refused", settle): ("closed", 0, 0, 0, 1_000, 0),
    ("refused", release): ("closed", 0, 0, 0, 1_000, 0),
}


@pytest.mark.parametrize(("state", "make"), TABLE, ids=lambda part: part if isinstance(part, str) else part.__name__)
def test_an_item_in_a_state(state: str, make, account: str, turn: str) -> None:
    *expected, balance, held = TABLE[state, make]
    bring_into(state, account, turn)
    item = make(account, turn)

    first = one(item)
    assert first == Outcome(*expected, available=balance - held)
    assert books(account) == Books(balance, held)
    entries = LedgerEntry.objects.filter(account_id=account).count()

    assert one(item) == first, "asked again, it answers the same"
    assert books(account) == Books(balance, held)
    assert LedgerEntry.objects.filter(account_id=account).count() == entries
    assert audit.violations() == []


@pytest.mark.parametrize(
    ("balance", "hold", "used", "charged", "uncovered"),
    [
        (1_000, 100, 0, 0, 0),
        (1_000, 100, 100, 100, 0),
        (1_000, 100, 150, 150, 0),  # beyond the hold, as far as credit is available
        (120, 100, 150, 120, 30),  # what cannot be paid is on record, never a debt
        (100, 100, 150, 100, 50),
        (1_000, 0, 40, 40, 0),
    ],
)
def test_settling_what_was_used(balance: int, hold: int, used: int, charged: int, uncovered: int, turn: str) -> None:
    account = open_account(balance)
    one(ledger.reserve(account=account, turn=turn, amount_nano=hold, least_nano=0))
    outcome = one(ledger.settle(account=account, turn=turn, used_nano=used, estimated=True))
    assert outcome == Outcome("settled", 0, charged, uncovered, balance - charged)
    assert books(account) == Books(balance - charged, 0)
    kept = hold_of(turn)
    assert (kept.state, kept.charged_nano, kept.uncovered_nano, kept.estimated) == (
        "settled",
        charged,
        uncovered,
        True,
    )
    assert audit.violations() == []


@pytest.mark.parametrize(
    ("balance", "used", "charged", "uncovered"), [(1_000, 10, 10, 0), (1_000, 30, 30, 0), (100, 250, 100, 150)]
)
def test_settling_after_a_lapse_is_one_adjusting_entry(
    balance: int, used: int, charged: int, uncovered: int, turn: str
) -> None:
    account = open_account(balance)
    bring_into("expired", account, turn)
    item = ledger.settle(account=account, turn=turn, used_nano=used, estimated=False)
    outcome = one(item)
    assert outcome == Outcome("adjusted", 0, charged, uncovered, balance - charged)
    assert one(item) == outcome
    adjusting = LedgerEntry.objects.filter(account_id=account, kind="adjustment")
    assert [entry.amount_nano for entry in adjusting] == ([30 - charged] if charged != 30 else [])
    assert audit.violations() == []


def test_a_hold_that_does_not_fit_is_cut_to_what_there_is_but_not_below_the_least(account: str) -> None:
    first, second, third = (ids.new("turn") for _ in range(3))
    assert one(ledger.reserve(account=account, turn=first, amount_nano=700, least_nano=700)).amount == 700
    assert one(ledger.reserve(account=account, turn=second, amount_nano=700, least_nano=301)).outcome == "insufficient"
    assert one(ledger.reserve(account=account, turn=third, amount_nano=700, least_nano=300))[:2] == ("held", 300)
    assert books(account) == Books(1_000, 1_000)


def test_a_late_reserve_finds_the_turn_closed(account: str, turn: str) -> None:
    item = reserve(account, turn)
    one(release(account, turn))
    assert one(item).outcome == "closed"
    assert books(account) == Books(1_000, 0)


def test_a_reserve_asked_again_after_the_settlement_is_closed(account: str, turn: str) -> None:
    item = reserve(account, turn)
    one(item)
    one(settle(account, turn))
    assert one(item).outcome == "closed"
    assert books(account) == Books(930, 0)


def test_an_earlier_extension_asked_again_is_not_added_again(account: str, turn: str) -> None:
    one(reserve(account, turn))
    first, second = extend(account, turn), extend(account, turn)
    assert [one(first).amount, one(second).amount, one(first).amount] == [150, 200, 200]
    assert books(account) == Books(1_000, 200)


def test_an_extension_fits_whole_or_not_at_all(account: str, turn: str) -> None:
    one(reserve(account, turn))
    item = ledger.extend(account=account, turn=turn, amount_nano=901)
    assert one(item) == one(item) == Outcome("insufficient", 100, 0, 0, 900)
    assert one(ledger.extend(account=account, turn=turn, amount_nano=900)).outcome == "held"


def test_a_reading_only_grows_and_stays_within_its_hold(account: str, turn: str) -> None:
    one(reserve(account, turn))
    for used, reading in [(40, 40), (20, 40), (5_000, 100)]:
        one(ledger.read(account=account, turn=turn, used_nano=used))
        assert hold_of(turn).reading_nano == reading


def test_a_reading_renews_the_lease(account: str, turn: str) -> None:
    one(reserve(account, turn))
    before = hold_of(turn).expires_at
    one(read(account, turn))
    kept = hold_of(turn)
    assert kept.expires_at > before
    assert (kept.expires_at - kept.opened_at).total_seconds() == pytest.approx(ledger.LEASE_S, abs=5)


def test_one_call_settles_the_lapsed_holds_of_its_accounts_first(account: str) -> None:
    lapsed, fresh = ids.new("turn"), ids.new("turn")
    one(ledger.reserve(account=account, turn=lapsed, amount_nano=1_000, least_nano=1_000))
    one(ledger.read(account=account, turn=lapsed, used_nano=250))
    lapse(lapsed)
    assert one(ledger.reserve(account=account, turn=fresh, amount_nano=750, least_nano=750)).outcome == "held"
    kept = hold_of(lapsed)
    assert (kept.state, kept.charged_nano, kept.estimated) == ("expired", 250, True)


def test_items_of_one_call_are_applied_in_order_each_with_its_outcome(account: str) -> None:
    other, turn = open_account(10), ids.new("turn")
    outcomes = ledger.apply(
        [
            reserve(account, turn),
            ledger.read(account=other, turn=ids.new("turn"), used_nano=1),
            extend(account, turn),
            ledger.grant(account=other, amount_nano=-11, reason="more than there is"),
            ledger.grant(account="ws_00000000000000000000000000", amount_nano=1, reason="nobody"),
            ledger.grant(account=other, amount_nano=-10, reason="all there is"),
            settle(account, turn),
            read(account, turn),
        ]
    )
    assert [outcome.outcome for outcome in outcomes] == [
        "held",
        "closed",
        "held",
        "insufficient",
        "unknown_account",
        "applied",
        "settled",
        "closed",
    ]
    assert books(account) == Books(930, 0)
    assert books(other) == Books(0, 0)
    assert audit.violations() == []


def test_a_grant_asked_again_is_granted_once(account: str) -> None:
    item = ledger.grant(account=account, amount_nano=5, reason="thanks")
    assert one(item) == one(item) == Outcome("applied", 0, 0, 0, 1_005)


def test_what_is_held_cannot_be_taken(account: str, turn: str) -> None:
    one(reserve(account, turn))
    with pytest.raises(ledger.InsufficientCredits) as short:
        ledger.change_credits(account=account, amount_nano=-901, reason="too much")
    assert short.value.available_nano == 900
    assert ledger.change_credits(account=account, amount_nano=-900, reason="just enough").available == 0


def test_a_workspace_without_an_account_is_unknown() -> None:
    with pytest.raises(ledger.UnknownAccount):
        ledger.change_credits(account=ids.new("ws"), amount_nano=1, reason="nobody")


@pytest.mark.parametrize(
    ("item", "error"),
    [
        ({"op": "reserve", "amount": -1, "least": 0}, IntegrityError),
        ({"op": "reserve", "amount": 1, "least": -1}, IntegrityError),
        ({"op": "extend", "amount": -1}, IntegrityError),
        ({"op": "settle", "amount": -1}, IntegrityError),
        ({"op": "release", "amount": 1}, IntegrityError),
        ({"op": "grant", "amount": 0, "kind": "grant"}, IntegrityError),
        ({"op": "grant", "amount": 5, "kind": "gift"}, IntegrityError),
        ({"op": "grant", "amount": 2**63, "kind": "grant"}, DataError),
        ({"op": "borrow", "amount": 1}, ProgrammingError),
    ],
    ids=lambda part: " ".join(map(str, part.values())) if isinstance(part, dict) else "",
)
def test_an_impossible_item_is_refused_with_all_that_came_with_it(item, error, account: str, turn: str) -> None:
    impossible = Item(**{"id": ids.new("led"), "account": account, "turn": turn} | item)
    with pytest.raises(error), transaction.atomic():
        ledger.apply([ledger.grant(account=account, amount_nano=7, reason="its neighbour"), impossible])
    assert books(account) == Books(1_000, 0)
    assert audit.violations() == []


def test_a_turn_of_another_account_is_not_touched(account: str, turn: str) -> None:
    one(reserve(account, turn))
    other = open_account(1_000)
    for make in (extend, read):
        assert one(make(other, turn)).outcome == "closed"
    with pytest.raises(IntegrityError), transaction.atomic():
        one(settle(other, turn))
    assert books(account) == Books(1_000, 100)
    assert books(other) == Books(1_000, 0)


def test_the_lease_is_the_same_in_python_and_sql(account: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT prosrc FROM pg_proc WHERE proname = 'ledger_apply'")
        [source] = cursor.fetchone()
    assert f"interval '{ledger.LEASE_S} seconds'" in source
