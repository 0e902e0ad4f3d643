"""Money in and out of text, and the one rounding rule. A unit test, because each place of a number matters."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import money


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (10, "0.00000001"),
        (1_000_000_000, "1"),
        (10_000_000_000, "10"),
        (9_998_765_432, "9.998765432"),
        (-1_500_000_000, "-1.5"),
        (2**62, "4611686018.427387904"),
    ],
)
def test_nano_dollars_are_shown_without_exponent_or_trailing_zeros(nano: int, text: str) -> None:
    assert money.usd(nano) == text


@pytest.mark.parametrize(
    ("text", "nano"),
    [("5", 5_000_000_000), ("0.000123", 123_000), ("-2", -2_000_000_000), (" 1.50 ", 1_500_000_000), ("-0", 0)],
)
def test_dollars_are_read_as_people_write_them(text: str, nano: int) -> None:
    assert money.parse_usd(text) == nano


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "x",
        "1e3",
        "1.",
        ".5",
        "+1",
        "--1",
        "1,000",
        "1.0000000001",
        "1234567890",
        "NaN",
        "Infinity",
        "1 2",
        "$1",
    ],
)
def test_anything_else_is_no_money(text: str) -> None:
    with pytest.raises(money.NotMoney):
        money.parse_usd(text)


@given(st.integers(-999_999_999 * money.NANO, 999_999_999 * money.NANO))
def test_what_is_shown_is_read_back(nano: int) -> None:
    assert money.parse_usd(money.usd(nano)) == nano


@given(st.decimals(0, 10**12, places=12))
def test_a_charge_is_rounded_up_by_less_than_one(amount: Decimal) -> None:
    assert 0 <= money.round_up(amount) - amount < 1


@given(st.integers(0, 10**9), st.integers(0, 10**12))
def test_a_price_per_million_is_rounded_up_by_less_than_one(tokens: int, price: int) -> None:
    assert 0 <= money.per_million(tokens * price) * 1_000_000 - tokens * price < 1_000_000
