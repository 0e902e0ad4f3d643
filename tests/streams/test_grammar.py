"""The order of a log, against a regular expression that says the same independently of the table."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.events import (
    Aborted,
    Event,
    Failed,
    Finished,
    Notice,
    ReasoningDelta,
    StepFinished,
    StepStarted,
    TextDelta,
    Usage,
)
from streams.grammar import TABLE, Grammar, OutOfOrder, State
from tests.streams.logs import LOGS, STARTED, logs

EVENTS: dict[str, Event] = {
    "S": STARTED,
    "b": StepStarted(),
    "t": TextDelta("x"),
    "r": ReasoningDelta("x"),
    "n": Notice("degraded", "x"),
    "e": StepFinished(),
    "F": Failed("provider_error", "x", "req_x"),
    "A": Aborted("stopped"),
    "Z": Finished("stop", Usage(), 0),
}
ORDER = re.compile(r"S(n|b[trn]*e)*(Z|(b[trn]*)?[FA]Z)|[FA]Z")


def accepted(letters: str) -> bool:
    grammar = Grammar()
    try:
        for letter in letters:
            grammar.check(EVENTS[letter])
    except OutOfOrder:
        return False
    return grammar.state is State.CLOSED


@given(st.text("SbtrneFAZ", max_size=9) | st.from_regex(ORDER, fullmatch=True, alphabet=st.sampled_from("SbtrneFAZ")))
@example("SZ")
@example("FZ")
@example("Sbt")
@example("SbtZ")
@example("SbtFZ")
@example("SZZ")
@example("FAZ")
@example("SFnZ")
def test_the_table_accepts_exactly_the_logs_of_the_expression(letters: str) -> None:
    assert accepted(letters) == bool(ORDER.fullmatch(letters))


@given(logs())
def test_the_logs_that_the_other_tests_draw_are_in_order(log: list[Event]) -> None:
    grammar = Grammar()
    for event in log:
        grammar.check(event)
    assert grammar.state is State.CLOSED


@pytest.mark.parametrize("name", LOGS)
def test_the_named_logs_are_in_order(name: str) -> None:
    grammar = Grammar()
    for event in LOGS[name]:
        grammar.check(event)
    assert grammar.state is State.CLOSED


def test_a_refused_event_leaves_the_grammar_where_it_was_and_says_why() -> None:
    grammar = Grammar()
    grammar.check(STARTED)
    with pytest.raises(OutOfOrder, match=r"^TextDelta may not come when the turn is between two steps\.$"):
        grammar.check(TextDelta("x"))
    grammar.check(StepStarted())
    assert grammar.state is State.IN_STEP


def test_every_kind_of_event_has_a_place() -> None:
    assert {kind for row in TABLE.values() for kind in row} == {type(event) for event in EVENTS.values()}
