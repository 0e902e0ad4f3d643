"""The buffered reply says what the streams say."""

import pytest
from hypothesis import given

from streams.events import Event, Failed, Finished, ReasoningDelta, StepFinished, StepStarted, TextDelta
from streams.protocols.buffered import Incomplete, reply
from tests.streams.logs import LOGS, STARTED, STOP, logs, numbered, text_of


@given(logs())
def test_text_parts_and_refusal(log: list[Event]) -> None:
    answer = reply(numbered(log))
    assert answer.body["text"] == text_of(log)
    if log[0] is STARTED:
        parts = answer.body["message"]["parts"]
        assert "".join(part["text"] for part in parts if part["type"] == "text") == text_of(log)
        assert all(part["text"] for part in parts)
    else:
        assert answer.body["message"] is None
    failed = next((event for event in log if isinstance(event, Failed)), None)
    assert ("error" in answer.body) == (failed is not None)
    assert answer.refusal == (None if text_of(log) else failed)


def test_each_block_is_a_part_and_a_notice_ends_none() -> None:
    body = reply(numbered(LOGS["notice_inside_a_block"])).body
    assert body["message"]["parts"] == [{"type": "text", "text": "One, two."}]
    log = [STARTED, StepStarted(), TextDelta("a"), ReasoningDelta("r"), TextDelta("b"), StepFinished()]
    log += [StepStarted(), TextDelta("c"), StepFinished(), STOP]
    parts = reply(numbered(log)).body["message"]["parts"]
    assert [(part["type"], part["text"]) for part in parts] == [
        ("text", "a"),
        ("reasoning", "r"),
        ("text", "b"),
        ("text", "c"),
    ]


def test_a_failure_after_text_is_told_in_a_whole_reply() -> None:
    answer = reply(numbered(LOGS["failed_mid_text"]))
    assert answer.refusal is None
    assert answer.body["finish_reason"] == "error"
    assert answer.body["error"]["code"] == "provider_timeout"
    assert answer.body["cost"] == "0.000000777"


def test_the_names_of_a_failure_s_details_are_those_of_rest() -> None:
    error = reply(numbered(LOGS["refused_for_money"])).body["error"]
    assert error["workspace_id"].startswith("ws_")
    assert "workspaceId" not in error


def test_a_log_without_an_end_has_no_reply() -> None:
    log = LOGS["answer"][:-1]
    assert not any(isinstance(event, Finished) for event in log)
    with pytest.raises(Incomplete):
        reply(numbered(log))
