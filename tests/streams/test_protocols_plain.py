"""The plain dialect: every log, cut into any batches, read from anywhere."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.events import Entry, Event, Failed, Notice, ReasoningDelta, StepFinished, StepStarted, TextDelta
from streams.protocols import make
from streams.protocols.buffered import reply
from tests.streams.logs import LOGS, STARTED, STOP, batches, logs, numbered, text_of

WITHOUT_FRAME = {"StepStarted", "StepFinished", "Aborted"}


def frames(stream: bytes) -> list[tuple[int, dict[str, object]]]:
    """(id, data) of each event; fails where one is not exactly an id line and a data line."""
    if not stream:
        return []
    assert stream.endswith(b"\n\n")
    read = []
    for event in stream.decode().removesuffix("\n\n").split("\n\n"):
        id_line, data_line = event.split("\n")
        read.append((int(id_line.removeprefix("id: ")), json.loads(data_line.removeprefix("data: "))))
    return read


def encoded(
    parts: list[list[Entry]], *, deltas: bool = True, replay: bool = False
) -> list[tuple[int, dict[str, object]]]:
    encoder = make("plain", deltas=deltas, replay=replay)
    return frames(b"".join(encoder.encode(part) for part in parts))


def said(read: list[tuple[int, dict[str, object]]]) -> str:
    return "".join(
        str(data.get("textDelta", data.get("text"))) for _, data in read if str(data["type"]).startswith("text")
    )


@given(logs(), st.data())
def test_as_they_come_each_event_is_one_frame_with_its_number(log: list[Event], data: st.DataObject) -> None:
    read = encoded(data.draw(batches(numbered(log))))
    visible = [seq for seq, event in numbered(log) if type(event).__name__ not in WITHOUT_FRAME]
    assert [seq for seq, _ in read] == visible
    assert said(read) == text_of(log, per="delta")
    assert [frame["type"] for _, frame in read].count("done") == 1
    assert read[-1][1]["type"] == "done"


@given(logs(), st.data())
def test_whole_blocks_say_the_same_whatever_the_batches(log: list[Event], data: st.DataObject) -> None:
    entries = numbered(log)
    read = encoded(data.draw(batches(entries)), deltas=False)
    assert read == encoded([entries], deltas=False)
    assert not [frame for _, frame in read if frame["type"] == "text-delta"]
    assert said(read) == text_of(log)
    assert [frame for _, frame in read if frame["type"] != "text"] == [
        frame for _, frame in encoded([entries]) if frame["type"] != "text-delta"
    ]


@given(logs(), st.booleans(), st.data())
def test_going_on_after_any_id_loses_no_text_and_repeats_none(
    log: list[Event], deltas: bool, data: st.DataObject
) -> None:
    entries = numbered(log)
    stream = encoded([entries], deltas=deltas)
    kept = data.draw(st.integers(1, len(stream)))
    last_id = stream[kept - 1][0]
    rest = encoded([[entry for entry in entries if entry[0] > last_id]], deltas=deltas)
    together = stream[:kept] + rest
    assert said(together) == said(stream)
    notices = [frame for _, frame in stream if frame["type"] == "notice"]
    assert all(notice in [frame for _, frame in together] for notice in notices)
    if deltas:
        assert together == stream


@given(logs(), st.data())
def test_a_replay_sends_finished_blocks_whole_and_the_open_one_as_deltas(log: list[Event], data: st.DataObject) -> None:
    log = [TextDelta("x") if isinstance(event, TextDelta) else event for event in log]
    entries = numbered(log)
    cut = data.draw(st.integers(0, len(entries)))
    replayed = encoded([entries[:cut]], replay=True)
    kinds = [frame["type"] for _, frame in replayed]
    if "text-delta" in kinds:
        assert set(kinds[kinds.index("text-delta") :]) <= {"text-delta", "notice"}
    assert said(replayed) == text_of(log[:cut])
    read = encoded([entries[:cut], *([entry] for entry in entries[cut:])], replay=True)
    assert read[: len(replayed)] == replayed
    assert said(read) == text_of(log)
    assert [seq for seq, _ in read[len(replayed) :]] == [seq for seq, _ in encoded([entries[cut:]])]


def test_a_replay_in_the_middle_of_a_block() -> None:
    log = [STARTED, StepStarted(), TextDelta("a"), TextDelta("b"), StepFinished(), StepStarted(), TextDelta("c")]
    encoder = make("plain", replay=True)
    first = frames(encoder.encode(numbered(log)))
    assert [(seq, frame["type"]) for seq, frame in first] == [(1, "start"), (4, "text"), (7, "text-delta")]
    then = frames(encoder.encode([(8, TextDelta("d")), (9, StepFinished()), (10, STOP)]))
    assert [(seq, frame["type"]) for seq, frame in then] == [(8, "text-delta"), (10, "done")]


def test_a_notice_amid_a_held_block_never_promises_text_that_was_not_sent() -> None:
    encoder = make("plain", deltas=False)
    tail = [(7, TextDelta("c")), (8, Notice("degraded", "x"))]
    assert [seq for seq, _ in frames(encoder.encode(tail))] == [6]
    assert [(seq, frame["type"]) for seq, frame in frames(encoder.encode([(9, StepFinished())]))] == [(8, "text")]


def test_reasoning_ends_a_text_block() -> None:
    log = [STARTED, StepStarted(), TextDelta("a"), ReasoningDelta("r"), TextDelta("b"), StepFinished(), STOP]
    read = encoded([numbered(log)], deltas=False)
    assert [(seq, frame["type"]) for seq, frame in read[1:-1]] == [(3, "text"), (4, "reasoning-delta"), (5, "text")]


def test_details_of_a_failure_are_fields_of_the_error_and_override_none() -> None:
    failed = Failed("provider_error", "Sorry.", "req_x", {"code": "mine", "requestId": "mine", "available": "0"})
    for name in ("plain", "ui"):
        stream = make(name).encode([(1, failed), (2, STOP)])
        assert b"mine" not in stream
        assert b'"available":"0"' in stream
    error = reply([(1, failed), (2, STOP)]).body["error"]
    assert error["code"] == "provider_error"
    assert error["available"] == "0"


def test_a_line_break_in_the_text_stays_inside_the_json() -> None:
    assert said(encoded([numbered(LOGS["json_in_text"])])) == text_of(LOGS["json_in_text"])


@pytest.mark.parametrize("name", ["plain", "ui"])
def test_nothing_in_nothing_out(name: str) -> None:
    assert make(name).encode([]) == b""
    assert make(name).ping == b": ping\n\n"
