"""Settling the holds that nobody renews any more: the backstop for a killed process."""

import structlog
from django.db import DatabaseError
from django.db.models.functions import Now

from billing import ledger
from billing.models import Reservation

log = structlog.get_logger(__name__)

ACCOUNTS = 500
"""How many accounts are swept in one call."""


def sweep_lapsed_holds() -> int:
    """Settle every lapsed hold from its last reading; returns how many accounts had one.

    `ledger_apply` settles an account's lapsed holds before anything else, so it is enough to name the account.
    """
    lapsed = Reservation.objects.filter(state=Reservation.State.PENDING, expires_at__lte=Now())
    accounts = sorted(set(lapsed.values_list("account_id", flat=True)))
    for first in range(0, len(accounts), ACCOUNTS):
        _sweep(accounts[first : first + ACCOUNTS])
    return len(accounts)


def _sweep(accounts: list[str]) -> None:
    """All in one call; where that fails, one by one, so that a damaged account keeps nobody else's credits held."""
    try:
        ledger.apply([ledger.sweep(account=account) for account in accounts])
    except DatabaseError as error:
        if len(accounts) > 1:
            for account in accounts:
                _sweep([account])
        else:
            log.error("an account cannot be swept", workspace_id=accounts[0], error=type(error).__name__)
