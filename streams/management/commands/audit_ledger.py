"""Audits the books."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

import billing.audit
import streams.audit


class Command(BaseCommand):
    help = "Recompute every balance and hold from the entries and list each violation; exit 1 if there is any."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print {clean, violations} as JSON")

    def handle(self, *, json: bool, **options: Any) -> None:
        found = [*billing.audit.violations(), *streams.audit.violations()]
        self.stdout.write(_as_json(found) if json else _as_text(found))
        if found:
            raise SystemExit(1)


def _as_json(found: list[billing.audit.Violation]) -> str:
    return json.dumps({"clean": not found, "violations": [violation._asdict() for violation in found]}, indent=2)


def _as_text(found: list[billing.audit.Violation]) -> str:
    if not found:
        return "The books are right."
    lines = [f"{each.account or '-'}  {each.subject}  broken: {each.law} ({each.detail})" for each in found]
    return "\n".join([f"{len(found)} violations:", *lines])
