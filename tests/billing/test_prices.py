"""The price list that is seeded, the price that holds, and the commands that change prices, plans and credits."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from billing import catalogue, prices
from billing.models import LedgerEntry, ModelPrice, Subscription
from billing.pricing import Price
from tests.billing.books import Books, books, open_account

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_the_migration_seeds_the_whole_list() -> None:
    rows = catalogue.listed()
    assert len(rows) > 500
    assert {(row.model, row.input_nano, row.output_nano, row.cached_input_nano, row.source) for row in rows} == set(
        ModelPrice.objects.values_list("model", "input_nano", "output_nano", "cached_input_nano", "source")
    )


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ("gpt-4o-mini", Price(150_000_000, 600_000_000, 75_000_000)),
        ("gpt-4o-mini-2024-07-18", Price(150_000_000, 600_000_000, 75_000_000)),  # another name of the same model
        ("openai/gpt-4o-mini", Price(150_000_000, 600_000_000, 75_000_000)),
        ("simulated/echo-1", Price(100_000_000, 400_000_000, 100_000_000)),
        ("openai/gpt-4o", None),  # its price depends on the date
        ("gpt-5.6-luna", None),  # its price depends on the length of the prompt
        ("gpt-4o-mini-search-preview", None),  # each search costs
        ("gpt-4o-audio-preview", None),
        ("text-embedding-3-small", None),
        ("unheard-of", None),
        ("", None),
    ],
)
def test_only_a_model_with_one_certain_price_has_one(model: str, price: Price | None) -> None:
    assert prices.current(model, timezone.now()) == price


def test_a_new_price_holds_from_its_moment_on() -> None:
    before = timezone.now()
    prices.change(model="m", input_nano=4, output_nano=5, cached_input_nano=None, now=before, source="test")
    later = before + timedelta(hours=1)
    prices.change(model="m", input_nano=6, output_nano=7, cached_input_nano=1, now=later, source="test")
    assert prices.current("m", before - timedelta(microseconds=1)) is None
    assert prices.current("m", before) == Price(4, 5, 4)
    assert prices.current("m", later) == Price(6, 7, 1)


def test_set_price() -> None:
    run("set_price", "m", "--input", "1.25", "--output", "10", "--cached-input", "0.125")
    assert prices.current("m", timezone.now()) == Price(1_250_000_000, 10_000_000_000, 125_000_000)
    run("set_price", "m", "--input", "0", "--output", "0")
    assert prices.current("m", timezone.now()) == Price(0, 0, 0), "an explicit 0 is zero, not missing"


@pytest.mark.parametrize(
    "arguments",
    [
        ("m", "--input", "-1", "--output", "1"),
        ("m", "--input", "1", "--output", "-1"),
        ("m", "--input", "1", "--output", "1", "--cached-input", "-1"),
        ("m", "--input", "1", "--output", "1", "--cached-input", "2"),
        ("m", "--input", "a", "--output", "1"),
        ("m", "--input", "1"),
        (" ", "--input", "1", "--output", "1"),
    ],
)
def test_set_price_refuses(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        run("set_price", *arguments)
    assert not ModelPrice.objects.filter(source="manual").exists()


def test_grant_credits_adds_and_takes() -> None:
    account = open_account()
    assert run("grant_credits", account, "5", "--note", "a gift") == f"{account} has 5 USD available.\n"
    assert run("grant_credits", account, "-0.000123") == f"{account} has 4.999877 USD available.\n"
    assert [(row.amount_nano, row.reason) for row in LedgerEntry.objects.filter(account_id=account)] == [
        (5_000_000_000, "a gift"),
        (-123_000, "granted from the command line"),
    ]


@pytest.mark.parametrize(
    ("usd", "sentence"),
    [("-5.000000001", "Only 5 USD are available"), ("x", "is not an amount"), ("0", "changes nothing")],
)
def test_grant_credits_refuses(usd: str, sentence: str) -> None:
    account = open_account(5_000_000_000)
    with pytest.raises(CommandError, match=sentence):
        run("grant_credits", account, usd)
    assert books(account) == Books(5_000_000_000, 0)


def test_a_workspace_that_is_not_there_is_named() -> None:
    for arguments in (("grant_credits", "ws_nowhere", "1"), ("set_plan", "ws_nowhere", "pro")):
        with pytest.raises(CommandError, match="no workspace ws_nowhere"):
            run(*arguments)


def test_set_plan() -> None:
    account = open_account()
    run("set_plan", account, "free")
    assert Subscription.objects.get(workspaces=account).plan_id == "free"
    with pytest.raises(CommandError, match="there are free, starter, pro"):
        run("set_plan", account, "gold")
    assert Subscription.objects.get(workspaces=account).plan_id == "free"
