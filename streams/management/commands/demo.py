"""Seeds the demo and prints how to use it."""

import json
from argparse import ArgumentParser
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from rich.console import Console
from rich.table import Table

from agents import demo, sign_in

SHOP_ORIGIN = "http://localhost:3000"


class Command(BaseCommand):
    help = (
        "Make the demo (again, if it is there): a user, a workspace on the pro plan, an agent and 10 USD of credit. "
        "The secrets are new on each call and those of the last call are revoked. webhook_url is null: there is no "
        "webhook endpoint yet."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print it as JSON")

    def handle(self, *, json: bool, **options: Any) -> None:
        public = urlsplit(settings.PUBLIC_URL)
        origins = list(dict.fromkeys([f"{public.scheme}://{public.netloc}", SHOP_ORIGIN]))
        try:
            made = demo.seed(model=settings.DEFAULT_MODEL, origins=origins, now=timezone.now())
        except demo.NotADemo as problem:
            raise CommandError(str(problem)) from None
        shown = _shown(made)
        if json:
            self.stdout.write(_as_json(shown))
        else:
            Console(file=self.stdout, width=250, soft_wrap=True).print(_as_table(shown))


def _shown(made: demo.Demo) -> dict[str, Any]:
    workspace, agent = made.workspace.id, made.agent.id
    return {
        "base_url": settings.PUBLIC_URL,
        "workspace_id": workspace,
        "agent_id": agent,
        "stream_url": f"{settings.STREAM_URL}/api/streams/{workspace}/{agent}/{made.stream_secret}",
        "stream_secret": made.stream_secret,
        "webhook_url": None,
        "api_key": made.api_key,
        "user": {"email": made.user.email, "sign_in_url": sign_in.link(made.user, base_url=settings.PUBLIC_URL)},
    }


def _as_json(shown: dict[str, Any]) -> str:
    return json.dumps(shown, indent=2)


def _as_table(shown: dict[str, Any]) -> Table:
    flat = {key: value for key, value in shown.items() if isinstance(value, str)} | shown["user"]
    table = Table.grid(padding=(0, 2))
    for key, value in flat.items():
        table.add_row(key.replace("_", " "), value)
    return table
