"""The log: what goes in comes out, from any place, in any batches; readers wait and wake."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.events import (
    Finished,
    Notice,
    ReasoningDelta,
    Started,
    StepFinished,
    StepStarted,
    TextDelta,
    Usage,
)
from streams.grammar import OutOfOrder
from streams.log import Log

OPENING = [Started("conv", "turn", "msg", "model"), StepStarted()]
CLOSING = [StepFinished(), Finished("stop", Usage(), 0)]
middles = st.lists(
    st.one_of(
        st.text(min_size=1, max_size=60, alphabet=st.characters(exclude_categories=["Cs"])).map(TextDelta),
        st.text(min_size=1, max_size=60, alphabet=st.characters(exclude_categories=["Cs"])).map(ReasoningDelta),
        st.just(Notice("degraded", "slower")),
    )
)


def filled(events) -> Log:
    log = Log()
    for event in events:
        log.append(event)
    return log


@given(middles, st.integers(1, 7), st.integers(0, 40))
def test_what_goes_in_comes_out_from_any_place_in_any_batches(middle, most, after):
    events = [*OPENING, *middle, *CLOSING]
    log = filled(events)
    assert log.length == len(events)
    assert log.closed
    read, place = [], after
    while batch := log.since(place, most):
        assert len(batch) <= most
        read += batch
        place = batch[-1][0]
    assert read == list(enumerate(events, 1))[after:]
    assert log.text() == "".join(event.text for event in middle if isinstance(event, TextDelta))


def test_a_thousand_deltas_take_little_room():
    log = filled([*OPENING, *(TextDelta("word ") for _ in range(1000))])
    [run] = [part for part in log._parts if hasattr(part, "lengths")]
    assert len(run.lengths) + len(run.text) == 6 * 1000
    assert len(run.starts) == 16


def test_a_long_delta_is_kept_as_several_and_no_character_is_cut():
    text = "aé€😀" * 200
    log = filled([*OPENING, TextDelta(text), *CLOSING])
    deltas = [event.text for _, event in log.since(2) if isinstance(event, TextDelta)]
    assert len(deltas) == 8
    assert max(len(delta.encode()) for delta in deltas) <= 255
    assert "".join(deltas) == log.text() == text


def test_nothing_follows_the_end():
    log = filled([*OPENING, *CLOSING])
    with pytest.raises(OutOfOrder):
        log.append(TextDelta("more"))


async def test_readers_wake_on_every_append_and_time_out_in_silence():
    log = filled(OPENING)
    assert await log.beyond(1, 1.0)
    assert not await log.beyond(2, 0.01)
    readers = [asyncio.create_task(log.beyond(2, 5.0)) for _ in range(3)]
    await asyncio.sleep(0)
    log.append(TextDelta("a"))
    assert await asyncio.gather(*readers) == [True] * 3
    assert not log._waiters


async def test_a_reader_that_leaves_leaves_nothing_behind():
    log = filled(OPENING)
    reader = asyncio.create_task(log.beyond(2, 5.0))
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    assert not log._waiters


async def test_nobody_waits_beyond_the_end():
    log = filled([*OPENING, *CLOSING])
    assert await log.beyond(4, 5.0)
    assert log.since(4) == []
