"""The meter: never delivers more than is paid for, never charges more than was used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import pricing
from billing.pricing import Price
from streams.events import Usage
from streams.meter import Meter

PRICE = Price(input_nano=100_000_000, output_nano=400_000_000, cached_input_nano=50_000_000)


def meter(held: int, cap: int = 1000, price: Price = PRICE) -> Meter:
    return Meter(price, held_nano=held, prompt_bytes=40, prompt_tokens=20, cap_tokens=cap)


def wanted(cap: int) -> int:
    return pricing.hold(PRICE, prompt_tokens=20, output_cap=cap).wanted


@given(
    held=st.integers(2_000, 1_000_000),
    deltas=st.lists(st.text(min_size=1, max_size=30, alphabet=st.characters(exclude_categories=["Cs"])), max_size=200),
)
def test_our_own_count_never_exceeds_the_hold(held, deltas):
    counting = meter(held)
    delivered = ""
    for delta in deltas:
        paid = counting.take(delta)
        assert delta.startswith(paid)
        delivered += paid
        if paid != delta:
            break
    assert counting.used_nano <= held
    assert counting.answer_bytes == len(delivered.encode())
    if delivered:
        assert counting.total == Usage(10, pricing.estimate_tokens(delivered), estimated=True)


def test_a_full_hold_asks_for_the_whole_answer_and_ends_by_the_output_limit():
    counting = meter(wanted(1000))
    assert (counting.max_tokens, counting.limited_by) == (1000, "output_limit")
    text = "हिन्दी" * 600  # some ten bytes a token
    assert counting.take(text) == text
    assert counting.used_nano <= wanted(1000)
    assert counting.total.output_tokens == 1334
    assert len(counting.take("y" * 10_000)) == 16_000 - len(text.encode())


def test_a_small_hold_asks_for_what_it_can_pay_and_ends_for_want_of_credit():
    counting = meter(2_000 + 400 * 50)
    assert (counting.max_tokens, counting.limited_by) == (50, "insufficient_credits")
    assert counting.take("x" * 500) == "x" * 200


def test_a_delta_is_cut_between_characters():
    counting = meter(2_000 + 400 * 1, cap=10)
    assert counting.take("aé€€") == "aé"


def test_free_output_is_bounded_by_the_cap_alone():
    counting = meter(0, cap=10, price=Price(0, 0, 0))
    assert (counting.max_tokens, counting.limited_by) == (10, "output_limit")
    assert len(counting.take("x" * 1000)) == 160


def test_nothing_delivered_costs_nothing():
    assert meter(wanted(10)).used_nano == 0


@pytest.mark.parametrize(
    ("usage", "charged"),
    [
        (Usage(20, 30), 20 * 100 + 30 * 400),
        (Usage(20, 30, reasoning_tokens=25), 20 * 100 + 30 * 400),
        (Usage(20, 30, cached_input_tokens=10), 10 * 100 + 10 * 50 + 30 * 400),
        (Usage(20, 30, cached_input_tokens=99), 20 * 50 + 30 * 400),
    ],
)
def test_the_providers_usage_wins(usage, charged):
    counting = meter(wanted(1000))
    counting.take("hello")
    counting.report(usage)
    assert counting.used_nano == charged
    assert not counting.total.estimated


def test_usage_that_denies_the_answer_is_no_report():
    counting = meter(wanted(1000))
    counting.take("hello there")
    counting.report(Usage(0, 0))
    assert counting.total.estimated
    assert counting.used_nano == 10 * 100 + 3 * 400
