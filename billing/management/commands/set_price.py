"""Prices a model from now on."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from billing import money, prices


class Command(BaseCommand):
    help = "Set what a model costs from now on, in US dollars per million tokens. 0 makes it free; no price refuses it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model", help="the model's name as agents use it, such as gpt-4o-mini")
        parser.add_argument("--input", required=True, metavar="USD", help="per million input tokens")
        parser.add_argument("--output", required=True, metavar="USD", help="per million output tokens")
        parser.add_argument("--cached-input", metavar="USD", help="per million input tokens that the provider cached")

    def handle(
        self,
        *,
        model: str,
        input: str,
        output: str,
        cached_input: str | None,
        **options: Any,
    ) -> None:
        if not 0 < len(model.strip()) <= 200:
            raise CommandError("A model's name has 1 to 200 characters.")
        try:
            row = prices.change(
                model=model.strip(),
                input_nano=money.parse_usd(input),
                output_nano=money.parse_usd(output),
                cached_input_nano=None if cached_input is None else money.parse_usd(cached_input),
                now=timezone.now(),
                source="manual",
            )
        except (money.NotMoney, prices.InvalidPrice) as problem:
            raise CommandError(f"{problem}.") from None
        self.stdout.write(
            f"{row.model} costs {money.usd(row.input_nano)} USD per million input tokens "
            f"and {money.usd(row.output_nano)} USD per million output tokens."
        )
