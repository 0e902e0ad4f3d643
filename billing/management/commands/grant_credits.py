"""Adds credits to a workspace, or takes them."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing import ledger, money


class Command(BaseCommand):
    help = "Add credits to a workspace, or take them with a minus; never below zero."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("workspace", help="the workspace's id, ws_…")
        parser.add_argument("usd", help="US dollars, such as 5, 0.000123 or -2")
        parser.add_argument("--note", default="granted from the command line", help="the reason kept with the entry")

    def handle(self, *, workspace: str, usd: str, note: str, **options: Any) -> None:
        try:
            amount_nano = money.parse_usd(usd)
        except money.NotMoney as problem:
            raise CommandError(f"{problem}.") from None
        if amount_nano == 0:
            raise CommandError("An amount of 0 changes nothing.")
        if len(note) > 200:
            raise CommandError("A note has at most 200 characters.")
        try:
            outcome = ledger.change_credits(account=workspace, amount_nano=amount_nano, reason=note)
        except ledger.UnknownAccount:
            raise CommandError(f"There is no workspace {workspace}.") from None
        except ledger.InsufficientCredits as short:
            raise CommandError(
                f"Only {money.usd(short.available_nano)} USD are available in {workspace}; credits never go below zero."
            ) from None
        self.stdout.write(f"{workspace} has {money.usd(outcome.available)} USD available.")
