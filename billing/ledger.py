"""The ledger: the items that change money, what becomes of them, and the synchronous door.

`ledger_apply` (billing/sql/ledger_apply.sql) is the only writer of accounts, holds and entries. This module makes its
items and reads its outcomes; `billing.door` sends them in groups from the event loop, `apply` sends them from
synchronous code (admin, tasks, commands) inside whatever transaction is open. Both lock the same accounts in the same
order.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
from django.db import connection

from billing import ids

STATEMENT = "SELECT outcome, amount, charged, uncovered, available FROM ledger_apply(%s::jsonb)"
LEASE_S = 15
"""A hold that is not renewed for this long is settled from its last reading; the SQL function says the same."""


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change. `id` makes it safe to send twice; `turn` is a turn's id; amounts are nano-dollars."""

    op: Literal["reserve", "extend", "read", "settle", "release", "grant", "sweep"]
    id: str
    account: str
    turn: str | None = None
    amount: int | None = None
    least: int | None = None
    kind: str | None = None
    reason: str | None = None
    estimated: bool | None = None


class Outcome(NamedTuple):
    """What became of an item. `amount` is what is held now, `charged` what the turn was charged in all, `available`
    what the account has left; all in nano-dollars."""

    outcome: Literal[
        "held", "insufficient", "closed", "settled", "adjusted", "released", "applied", "swept", "unknown_account"
    ]
    amount: int
    charged: int
    uncovered: int
    available: int


class UnknownAccount(LookupError):
    """The workspace has no credit account."""


class InsufficientCredits(Exception):
    """The account has less than is to be taken."""

    def __init__(self, available_nano: int) -> None:
        super().__init__("the account has not enough credit available")
        self.available_nano = available_nano


def reserve(*, account: str, turn: str, amount_nano: int, least_nano: int) -> Item:
    """Hold `amount_nano`, or as much as there is if it is at least `least_nano`."""
    return Item("reserve", ids.new("led"), account, turn, amount_nano, least=least_nano)


def extend(*, account: str, turn: str, amount_nano: int) -> Item:
    """Add `amount_nano` to a turn's hold."""
    return Item("extend", ids.new("led"), account, turn, amount_nano)


def read(*, account: str, turn: str, used_nano: int) -> Item:
    """Note what a turn has used so far and renew its hold."""
    return Item("read", "", account, turn, used_nano)


def settle(*, account: str, turn: str, used_nano: int, estimated: bool) -> Item:
    """Charge a turn what it used and close its hold."""
    return Item("settle", ids.new("led"), account, turn, used_nano, estimated=estimated)


def release(*, account: str, turn: str) -> Item:
    """Close a turn's hold without a charge, whether or not it was ever made."""
    return Item("release", ids.new("led"), account, turn, 0)


def grant(*, account: str, amount_nano: int, reason: str, kind: str = "grant", item_id: str | None = None) -> Item:
    """Add credits, or take them where `amount_nano` is negative."""
    return Item("grant", item_id or ids.new("led"), account, amount=amount_nano, kind=kind, reason=reason)


def sweep(*, account: str) -> Item:
    """Settle the account's lapsed holds."""
    return Item("sweep", "", account)


_encoder = msgspec.json.Encoder()


def encode(items: Sequence[Item]) -> str:
    """The items as `ledger_apply` takes them."""
    return _encoder.encode(items).decode()


def apply(items: Sequence[Item]) -> list[Outcome]:
    """Apply the items on Django's connection, in the transaction that is open there."""
    with connection.cursor() as cursor:
        cursor.execute(STATEMENT, [encode(items)])
        return [Outcome(*row) for row in cursor.fetchall()]


def change_credits(*, account: str, amount_nano: int, reason: str, item_id: str | None = None) -> Outcome:
    """Grant or take credits at once. Raises UnknownAccount, and InsufficientCredits where it would take too much."""
    [outcome] = apply([grant(account=account, amount_nano=amount_nano, reason=reason, item_id=item_id)])
    if outcome.outcome == "unknown_account":
        raise UnknownAccount(account)
    if outcome.outcome == "insufficient":
        raise InsufficientCredits(outcome.available)
    return outcome
