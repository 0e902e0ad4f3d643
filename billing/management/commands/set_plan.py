"""Puts a workspace's subscription on a plan."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing.models import Plan, Subscription


class Command(BaseCommand):
    help = "Put a workspace's subscription on a plan; it counts for all workspaces of that subscription."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("workspace", help="the workspace's id, ws_…")
        parser.add_argument("plan", help="the plan's code, such as free, starter or pro")

    def handle(self, *, workspace: str, plan: str, **options: Any) -> None:
        if not Plan.objects.filter(code=plan).exists():
            known = ", ".join(Plan.objects.order_by("position").values_list("code", flat=True))
            raise CommandError(f"There is no plan {plan}; there are {known}.")
        if not Subscription.objects.filter(workspaces__id=workspace).update(plan_id=plan):
            raise CommandError(f"There is no workspace {workspace}.")
        self.stdout.write(f"{workspace} is on the plan {plan}.")
