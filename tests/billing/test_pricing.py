"""What tokens cost and what is held for them. Unit tests, because they are pure and every nano counts."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import pricing
from billing.pricing import Price

PRICES = st.builds(
    lambda cached, more, output: Price(cached + more, output, cached),
    *[st.integers(0, 10**11)] * 3,
)
TOKENS = st.integers(0, 2_000_000)


@pytest.mark.parametrize(
    ("price", "tokens", "nano"),
    [
        (Price(150_000_000, 600_000_000, 75_000_000), (1_000, 500, 0), 450_000),
        (Price(150_000_000, 600_000_000, 75_000_000), (1_000, 500, 1_000), 375_000),
        (Price(1, 1, 1), (1, 0, 0), 1),  # a millionth of a nano-dollar is charged as one
        (Price(500_000, 500_000, 500_000), (1, 1, 0), 1),  # rounded once, not for each part
        (Price(10**9, 10**9, 10**9), (0, 0, 0), 0),
        (Price(0, 0, 0), (10**6, 10**6, 0), 0),
    ],
)
def test_cost(price: Price, tokens: tuple[int, int, int], nano: int) -> None:
    given_, out, cached = tokens
    assert pricing.cost(price, input_tokens=given_, output_tokens=out, cached_input_tokens=cached) == nano


@pytest.mark.parametrize("tokens", [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (5, 0, 6)])
def test_impossible_counts_are_refused(tokens: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="token counts"):
        pricing.cost(Price(1, 1, 1), input_tokens=tokens[0], output_tokens=tokens[1], cached_input_tokens=tokens[2])


@given(PRICES, TOKENS, TOKENS, st.data())
def test_a_charge_is_the_exact_cost_rounded_up(price: Price, prompt: int, answer: int, data: st.DataObject) -> None:
    cached = data.draw(st.integers(0, prompt))
    exact = Fraction(
        (prompt - cached) * price.input_nano + cached * price.cached_input_nano + answer * price.output_nano, 1_000_000
    )
    charged = pricing.cost(price, input_tokens=prompt, output_tokens=answer, cached_input_tokens=cached)
    assert 0 <= charged - exact < 1


@given(PRICES, TOKENS, st.integers(1, 200_000))
def test_a_hold_pays_for_the_whole_answer(price: Price, prompt: int, cap: int) -> None:
    hold = pricing.hold(price, prompt_tokens=prompt, output_cap=cap)
    assert hold.wanted >= pricing.cost(price, input_tokens=prompt, output_tokens=cap)
    assert 0 <= hold.least <= hold.wanted


@given(PRICES, st.integers(0, 10**13), TOKENS)
def test_what_a_hold_affords_fits_in_it_and_one_more_token_does_not(price: Price, held: int, prompt: int) -> None:
    afforded = pricing.affordable_output(price, held_nano=held, prompt_tokens=prompt)
    if afforded is None:
        assert price.output_nano == 0
        return
    if afforded > 0:
        assert pricing.cost(price, input_tokens=prompt, output_tokens=afforded) <= held
    # The prompt's cost is rounded up on its own, so the last token may be left out by one nano-dollar.
    assert pricing.cost(price, input_tokens=prompt, output_tokens=afforded + 1) >= held


@given(st.text(max_size=2_000))
def test_our_count_grows_with_the_bytes_and_is_never_zero_for_text(text: str) -> None:
    assert pricing.estimate_tokens(text) == -(-len(text.encode()) // 4)
    assert pricing.prompt_tokens_at_most(len(text.encode()), 1) > pricing.estimate_tokens(text)
