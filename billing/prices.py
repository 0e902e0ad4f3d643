"""The price that holds now, and the only way to set another."""

from datetime import datetime

from django.db import transaction

from billing.models import ModelPrice
from billing.pricing import Price


class InvalidPrice(ValueError):
    """No such price can be: it is negative, or cached input would cost more than input."""


def current(model: str, now: datetime) -> Price | None:
    """What the model costs at `now`; None where it has no price, so that it must be refused."""
    row = ModelPrice.objects.filter(model=model, valid_from__lte=now).order_by("-valid_from").first()
    if row is None:
        return None
    cached = row.input_nano if row.cached_input_nano is None else row.cached_input_nano
    return Price(row.input_nano, row.output_nano, cached)


@transaction.atomic
def change(
    *, model: str, input_nano: int, output_nano: int, cached_input_nano: int | None, now: datetime, source: str
) -> ModelPrice:
    """A price from `now` on, in nano-dollars per million tokens; older rows stay as history. Raises InvalidPrice."""
    if min(input_nano, output_nano, cached_input_nano or 0) < 0:
        raise InvalidPrice("A price is never negative; 0 makes the model free")
    if cached_input_nano is not None and cached_input_nano > input_nano:
        raise InvalidPrice("Cached input never costs more than input")
    return ModelPrice.objects.create(
        model=model,
        input_nano=input_nano,
        output_nano=output_nano,
        cached_input_nano=cached_input_nano,
        valid_from=now,
        source=source,
    )
