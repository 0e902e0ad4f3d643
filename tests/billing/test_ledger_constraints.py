"""Every law that is a constraint, broken on purpose with the pen that by-passes the code: plain SQL."""

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction
from django.db.models import CheckConstraint, UniqueConstraint

from billing import audit, ids, ledger
from billing.models import AppendOnly, LedgerEntry
from tests.billing.books import open_account

pytestmark = pytest.mark.django_db

ENTRY = (
    "INSERT INTO billing_ledgerentry (id, account_id, number, kind, amount_nano, balance_after_nano, reservation_id,"
    " reason, created_at) VALUES ('{new}', '{account}', {number}, '{kind}', {amount}, {after}, NULL, '', now())"
)
ACCOUNT = "UPDATE billing_creditaccount SET {} WHERE workspace_id = '{{account}}'"
HOLD = "UPDATE billing_reservation SET {} WHERE turn_id = '{{pending}}'"
DONE = "UPDATE billing_reservation SET {} WHERE turn_id = '{{settled}}'"
PLAN = "UPDATE billing_plan SET {} WHERE code = 'pro'"
PRICE = (
    "INSERT INTO billing_modelprice (model, input_nano, output_nano, cached_input_nano, valid_from, source)"
    " VALUES ({}, 'test')"
)


def entry(number: int = 9, kind: str = "grant", amount: int = 5, after: int = 5) -> str:
    return (
        ENTRY.replace("{number}", str(number))
        .replace("{kind}", kind)
        .replace("{amount}", str(amount))
        .replace("{after}", str(after))
    )


BROKEN = {
    "held_credit_is_never_negative": ACCOUNT.format("held_nano = -1"),
    "held_credit_never_exceeds_the_balance": ACCOUNT.format("balance_nano = 99"),
    "a_reservation_bears_the_id_of_its_turn": HOLD.format("turn_id = '{other}'"),
    "a_reservation_is_in_a_known_state": HOLD.format("state = 'lost', closed_at = now()"),
    "a_reading_stays_within_its_hold": HOLD.format("reading_nano = 101"),
    "a_charge_stays_within_its_hold": DONE.format("charged_nano = 101"),
    "what_is_uncovered_is_never_negative": DONE.format("uncovered_nano = -1"),
    "a_reservation_is_pending_until_it_is_closed": HOLD.format("closed_at = now()"),
    "only_a_settled_or_expired_hold_is_charged": HOLD.format("charged_nano = 1"),
    "only_an_expired_hold_is_adjusted": DONE.format("adjusted_nano = 1"),
    "entries_of_an_account_are_numbered_once": entry(number=1),
    "an_entry_changes_something": entry(amount=0),
    "a_balance_is_never_negative": entry(after=-1),
    "an_entry_is_of_a_known_kind": entry(kind="gift"),
    "a_charge_takes_credit_for_a_turn": entry(kind="charge", amount=-5),
    "a_plan_never_costs_less_than_nothing": PLAN.format("monthly_price_nano = -1"),
    "a_plan_lets_something_through": PLAN.format("concurrent_streams = 0"),
    "a_burst_holds_at_least_one_second": PLAN.format("burst = requests_per_second - 1"),
    "no_stream_outlives_an_hour": PLAN.format("longest_stream_s = 3601"),
    "a_model_has_one_price_at_a_time": PRICE.format("'m', 1, 1, NULL, 'epoch'")
    + "; "
    + PRICE.format("'m', 2, 2, NULL, 'epoch'"),
    "a_price_is_never_negative": PRICE.format("'m', -1, 0, NULL, now()"),
    "cached_input_never_costs_more_than_input": PRICE.format("'m', 1, 1, 2, now()"),
}


@pytest.fixture
def names() -> dict[str, str]:
    """An account of 1,000 with a pending hold of 100, and a hold of 100 that was settled with 40."""
    names = {"account": open_account(1_000), "pending": ids.new("turn"), "settled": ids.new("turn")}
    for turn in (names["pending"], names["settled"]):
        ledger.apply([ledger.reserve(account=names["account"], turn=turn, amount_nano=100, least_nano=100)])
    ledger.apply([ledger.settle(account=names["account"], turn=names["settled"], used_nano=40, estimated=False)])
    return names | {"other": ids.new("turn"), "new": ids.new("led")}


def run(statement: str, names: dict[str, str]) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement.format(**names))


@pytest.mark.parametrize("law", BROKEN)
def test_the_database_refuses(law: str, names: dict[str, str]) -> None:
    with pytest.raises(IntegrityError, match=law):
        run(BROKEN[law], names)


def test_every_constraint_of_the_app_is_broken_above() -> None:
    named = {
        constraint.name
        for model in apps.get_app_config("billing").get_models()
        for constraint in model._meta.constraints
        if isinstance(constraint, CheckConstraint | UniqueConstraint)
    }
    assert named - {name for name in named if "prefix" in name or "_begins_" in name} == set(BROKEN)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE billing_ledgerentry SET amount_nano = 1 WHERE account_id = '{account}'",
        "UPDATE billing_ledgerentry SET reason = '' WHERE account_id = '{account}'",
        "DELETE FROM billing_ledgerentry WHERE account_id = '{account}'",
    ],
)
def test_entries_are_kept_whichever_way_the_statement_comes(statement: str, names: dict[str, str]) -> None:
    with pytest.raises(IntegrityError, match="kept for ever"):
        run(statement, names)


def test_the_model_guards_its_entries_too(names: dict[str, str]) -> None:
    kept = LedgerEntry.objects.filter(account_id=names["account"]).first()
    with pytest.raises(AppendOnly):
        kept.save()
    with pytest.raises(AppendOnly):
        kept.delete()
    assert audit.violations() == []
