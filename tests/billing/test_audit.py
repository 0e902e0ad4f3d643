"""The auditor finds every kind of wrong books, and nothing in right ones."""

import json
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection

from billing import audit, ids, ledger
from tests.billing.books import open_account

pytestmark = pytest.mark.django_db

ACCOUNT = "UPDATE billing_creditaccount SET {} WHERE workspace_id = '{{account}}'"
ENTRY = "UPDATE billing_ledgerentry SET {} WHERE account_id = '{{account}}' AND kind = '{}'"
HOLD = "UPDATE billing_reservation SET {} WHERE turn_id = '{{pending}}'"

# What is done to the books -> the laws that are found broken
TAMPERING = {
    ACCOUNT.format("balance_nano = balance_nano + 1"): {"the balance is the sum of the entries"},
    ACCOUNT.format("held_nano = held_nano - 1"): {"what is held is the sum of the pending holds"},
    ACCOUNT.format("last_entry = last_entry + 1"): {"the account knows its last entry"},
    ENTRY.format("number = 7", "charge"): {"entries are numbered without gaps", "the account knows its last entry"},
    ENTRY.format("balance_after_nano = 1", "charge"): {"an entry states the balance after it"},
    ENTRY.format("amount_nano = 1001", "grant"): {
        "an entry states the balance after it",
        "the balance is the sum of the entries",
    },
    ENTRY.format("account_id = '{other}', number = 1", "charge"): {
        "an entry and its hold are of one account",
        "an entry states the balance after it",
        "the account knows its last entry",
        "the balance is the sum of the entries",
    },
    "DELETE FROM billing_ledgerentry WHERE account_id = '{account}' AND kind = 'charge'": {
        "a hold was charged what its entries took",
        "the account knows its last entry",
        "the balance is the sum of the entries",
    },
    HOLD.format("amount_nano = amount_nano + 1"): {"what is held is the sum of the pending holds"},
    HOLD.format("expires_at = now() - interval '61 seconds'"): {"no hold outlives its lease by a minute"},
    HOLD.format("expires_at = now() - interval '50 seconds'"): set(),  # the sweeper still has time
    HOLD.format("state = 'settled', closed_at = now(), charged_nano = 1"): {
        "a hold was charged what its entries took",
        "what is held is the sum of the pending holds",
    },
    "DROP TRIGGER ledger_entries_are_kept ON billing_ledgerentry": {"entries cannot be changed"},
}


@pytest.fixture
def names() -> dict[str, str]:
    """An account of 1,000 nano-dollars with a pending hold and a charge."""
    account, pending, settled = open_account(1_000), ids.new("turn"), ids.new("turn")
    for turn in (pending, settled):
        ledger.apply([ledger.reserve(account=account, turn=turn, amount_nano=100, least_nano=100)])
    ledger.apply([ledger.settle(account=account, turn=settled, used_nano=40, estimated=False)])
    return {"account": account, "other": open_account(), "pending": pending}


def tamper(statement: str, names: dict[str, str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # no checks may wait while the trigger is taken off
        cursor.execute("ALTER TABLE billing_ledgerentry DISABLE TRIGGER ledger_entries_are_kept")
        cursor.execute(statement.format(**names))
        if not statement.startswith("DROP"):
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("ALTER TABLE billing_ledgerentry ENABLE TRIGGER ledger_entries_are_kept")


@pytest.mark.parametrize("statement", TAMPERING)
def test_tampering_is_found(statement: str, names: dict[str, str]) -> None:
    assert audit.violations() == []
    tamper(statement, names)
    found = audit.violations()
    assert {violation.law for violation in found} == TAMPERING[statement]
    assert {violation.account for violation in found} <= {names["account"], names["other"], None}


def test_the_command_says_that_the_books_are_right(names: dict[str, str]) -> None:
    text, as_json = StringIO(), StringIO()
    call_command("audit_ledger", stdout=text)
    call_command("audit_ledger", "--json", stdout=as_json)
    assert text.getvalue() == "The books are right.\n"
    assert json.loads(as_json.getvalue()) == {"clean": True, "violations": []}


def test_the_command_lists_violations_and_exits_1(names: dict[str, str]) -> None:
    tamper(ACCOUNT.format("balance_nano = 999"), names)
    text, as_json = StringIO(), StringIO()
    with pytest.raises(SystemExit, match="1"):
        call_command("audit_ledger", stdout=text)
    with pytest.raises(SystemExit, match="1"):
        call_command("audit_ledger", "--json", stdout=as_json)
    assert f"{names['account']}  broken: the balance is the sum of the entries" in text.getvalue()
    [violation] = json.loads(as_json.getvalue())["violations"]
    assert violation == {
        "law": "the balance is the sum of the entries",
        "account": names["account"],
        "subject": names["account"],
        "detail": "balance 999, entries 960",
    }
