"""The price list that ships with the product: what `genai-prices` knows for certain, and the simulated model.

Read offline from the package's own data. A model is listed only when one price holds whatever is sent and whenever:
tiered prices, prices that change with the date and models with further charges (audio, images, a fee per request) are
left out. A model that is not listed is refused until staff price it, never guessed.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from importlib.metadata import version
from typing import Any, NamedTuple

from billing import money

SIMULATED = "simulated/echo-1"
CHARGED = {"input_mtok", "output_mtok", "cache_read_mtok"}
NEVER_ASKED_FOR = {
    "openai": {"cache_write_mtok", "web_searches_kcount", "storage_searches_kcount"},
    "openrouter": {"cache_write_mtok"},  # a model there that is priced by search always searches
}
"""The providers listed, and their charges for features that our requests never switch on."""
CHARGED_OTHERWISE = re.compile("search|online|audio|realtime|batch|image|tts")
"""Names that share a listing with a plain model but are charged by the search, by the picture or at another rate."""


class Listed(NamedTuple):
    """One model's price, in nano-dollars per million tokens; cached input costs what input does where it is None."""

    model: str
    input_nano: int
    output_nano: int
    cached_input_nano: int | None
    source: str


def listed() -> list[Listed]:
    """Every model with one certain price: OpenAI's by bare name, OpenRouter's by `maker/name`, and the simulated."""
    from genai_prices import data_snapshot  # here, because its data takes most of a second to load

    source = f"genai-prices {version('genai-prices')}"
    rows = {SIMULATED: Listed(SIMULATED, 100_000_000, 400_000_000, None, "built in")}
    for provider in data_snapshot.get_snapshot().providers:
        unused = NEVER_ASKED_FOR.get(provider.id)
        if unused is None:
            continue
        for model in provider.models:
            prices = _certain(model.prices, unused)
            if prices is None:
                continue
            for name in _names(model):
                is_ours = ("/" in name) == (provider.id == "openrouter")
                if is_ours and not CHARGED_OTHERWISE.search(name) and provider.find_model(name) is model:
                    rows.setdefault(name, Listed(name, *prices, source))
    return sorted(rows.values())


def _names(model: Any) -> Iterator[str]:
    """The model's id, then the other names it goes by literally; patterns name no one model."""
    yield model.id
    for clause in (model.match, *getattr(model.match, "or_", ())):
        literal = getattr(clause, "equals", None)
        if isinstance(literal, str):
            yield literal


def _certain(prices: Any, unused: set[str]) -> tuple[int, int, int | None] | None:
    """Input, output and cached input in nano-dollars per million tokens; None where they are not one certain price."""
    if isinstance(prices, list):
        return None
    charges = {unit: price for unit, price in vars(prices).items() if price is not None and unit not in unused}
    if not {"input_mtok", "output_mtok"} <= charges.keys() <= CHARGED:
        return None
    if not all(isinstance(price, Decimal) and price >= 0 for price in charges.values()):
        return None
    nano = {unit: money.round_up(price * money.NANO) for unit, price in charges.items()}
    cached = nano.get("cache_read_mtok")
    return nano["input_mtok"], nano["output_mtok"], cached if cached is None or cached <= nano["input_mtok"] else None
