"""Looks at every real part the product stands on."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streams import doctor

COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red", "not tested": "dim"}


class Command(BaseCommand):
    help = "Check database, cache, broker, channel layer, clocks, sweeps and keys; exit 1 if anything fails."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print {ok, checks} as JSON")
        parser.add_argument(
            "--production", action="store_true", help="also refuse demo secrets, embedded servers, DEBUG and plain http"
        )
        parser.add_argument("--stream-url", help="a stream URL to ask one question, to find proxies that buffer")

    def handle(self, *, json: bool, production: bool, stream_url: str | None, **options: Any) -> None:
        findings = list(doctor.examine(stream_url=stream_url, production=production))
        if json:
            self.stdout.write(_as_json(findings))
        else:
            Console(file=self.stdout, soft_wrap=True).print(_as_table(findings))
        if _failed(findings):
            raise SystemExit(1)


def _failed(findings: list[doctor.Finding]) -> bool:
    return any(finding.status == "fail" for finding in findings)


def _as_json(findings: list[doctor.Finding]) -> str:
    return json.dumps({"ok": not _failed(findings), "checks": [each._asdict() for each in findings]}, indent=2)


def _as_table(findings: list[doctor.Finding]) -> Table:
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        table.add_row(Text(finding.status, style=COLOURS[finding.status]), finding.name, Text(finding.detail))
    return table
