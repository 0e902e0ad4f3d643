"""Accounts to try the ledger on, and what is in them."""

from typing import NamedTuple

from agents.models import User, Workspace
from billing import ids, ledger
from billing.models import CreditAccount, Plan, Reservation, Subscription

PLAN = {
    "requests_per_second": 2_000,
    "burst": 4_000,
    "concurrent_streams": 500,
    "tokens_per_minute": 5_000_000,
    "turns_per_day": 10_000,
    "longest_stream_s": 3_600,
    "max_workspaces": 5,
    "max_agents": 50,
    "max_members": 25,
    "max_documents": 1_000,
    "max_documents_mb": 100,
    "max_keys": 250,
    "max_mcp_servers": 50,
}


class Books(NamedTuple):
    """An account, in nano-dollars."""

    balance: int
    held: int


def open_account(balance_nano: int = 0) -> str:
    """A new workspace with that much credit; returns its id. Needs no seeded rows."""
    plan, _ = Plan.objects.get_or_create(code="pro", defaults=PLAN | {"name": "Pro"})
    owner = User.objects.create_user(f"{ids.new('usr')}@example.com")
    subscription = Subscription.objects.create(owner=owner, plan=plan)
    workspace = Workspace.objects.create(name="Books", subscription=subscription)
    CreditAccount.objects.create(workspace=workspace)
    if balance_nano:
        ledger.change_credits(account=workspace.id, amount_nano=balance_nano, reason="to begin with")
    return workspace.id


def books(account: str) -> Books:
    """What the account says of itself."""
    return Books(*CreditAccount.objects.values_list("balance_nano", "held_nano").get(workspace_id=account))


def hold_of(turn: str) -> Reservation:
    """The turn's reservation."""
    return Reservation.objects.get(turn_id=turn)


def lapse(turn: str) -> None:
    """Let the turn's lease run out."""
    Reservation.objects.filter(turn_id=turn).update(expires_at="2020-01-01T00:00:00Z")
