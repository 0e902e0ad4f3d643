"""The ui dialect keeps the client's rules for every log, and the checker of those rules does find what breaks one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.events import Aborted, Event, Failed, Finished, ReasoningDelta, Started, TextDelta
from streams.protocols import make
from tests.streams.logs import LOGS, batches, logs, numbered
from tests.streams.ui_checker import Violation, check, text_of


def stream(log: list[Event]) -> bytes:
    return make("ui").encode(numbered(log))


def printed(log: list[Event], kind: type[TextDelta] | type[ReasoningDelta]) -> str:
    return "".join(
        event.text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        for event in log
        if isinstance(event, kind)
    )


@given(logs(), st.data())
def test_every_log_is_a_stream_the_client_takes_and_says_the_same(log: list[Event], data: st.DataObject) -> None:
    encoder = make("ui")
    written = b"".join(encoder.encode(part) for part in data.draw(batches(numbered(log))))
    assert written == stream(log)
    chunks = check(written)
    assert text_of(chunks) == printed(log, TextDelta)
    assert text_of(chunks, "reasoning") == printed(log, ReasoningDelta)
    ending = next((event for event in log if isinstance(event, Failed | Aborted)), None)
    wanted = {Failed: "error", Aborted: "abort", type(None): "finish"}[type(ending)]
    assert chunks[-1]["type"] == wanted


@pytest.mark.parametrize("name", LOGS)
def test_usage_and_cost_reach_the_client_before_its_last_chunk(name: str) -> None:
    log = LOGS[name]
    metadata = [chunk["messageMetadata"] for chunk in check(stream(log)) if "messageMetadata" in chunk]
    started = isinstance(log[0], Started)
    assert len(metadata) == (1 if started else 0)
    if started:
        assert isinstance(log[-1], Finished)
        assert metadata[0]["usage"]["inputTokens"] == log[-1].usage.input_tokens
        assert metadata[0]["conversationId"] == log[0].conversation_id


def test_the_error_comes_with_its_code_just_before_it() -> None:
    chunks = check(stream(LOGS["refused_for_money"]))
    assert [chunk["type"] for chunk in chunks] == ["data-error", "error"]
    assert chunks[0]["data"]["code"] == "insufficient_credits"
    assert chunks[0]["data"]["currency"] == "USD"


def sse(*chunks: dict[str, object] | str) -> bytes:
    return b"".join(
        b"data: " + (chunk if isinstance(chunk, str) else json.dumps(chunk)).encode() + b"\n\n" for chunk in chunks
    )


START = {"type": "start", "messageId": "m"}
STEP, STEP_END = {"type": "start-step"}, {"type": "finish-step"}
TEXT, DELTA, TEXT_END = (
    {"type": "text-start", "id": "1"},
    {"type": "text-delta", "id": "1", "delta": "x"},
    {"type": "text-end", "id": "1"},
)
CALL = {"type": "tool-input-available", "toolCallId": "c", "toolName": "t", "input": {}}
OUTPUT = {"type": "tool-output-available", "toolCallId": "c", "output": None}
FINISH, DONE = {"type": "finish"}, "[DONE]"


def test_the_checker_takes_a_tool_step() -> None:
    check(sse(START, STEP, CALL, OUTPUT, STEP_END, STEP, TEXT, DELTA, TEXT_END, STEP_END, FINISH, DONE))
    check(sse(START, STEP, OUTPUT, STEP_END, FINISH, DONE), known_calls=frozenset({"c"}))
    check(b": ping\n\nid: 4\n" + sse(START, FINISH, DONE))


@pytest.mark.parametrize(
    "broken",
    [
        sse(START, FINISH),
        sse(START, DONE),
        sse(START, FINISH, FINISH, DONE),
        sse(START, FINISH, DONE, FINISH),
        sse(START, START, FINISH, DONE),
        sse({"type": "start"}, FINISH, DONE),
        sse(STEP, START, STEP_END, FINISH, DONE),
        sse({"type": "data-note", "data": 1}, START, FINISH, DONE),
        sse(START, TEXT, DELTA, TEXT_END, FINISH, DONE),
        sse(START, STEP, DELTA, STEP_END, FINISH, DONE),
        sse(START, STEP, TEXT, STEP_END, FINISH, DONE),
        sse(START, STEP, TEXT, TEXT_END, DELTA, STEP_END, FINISH, DONE),
        sse(START, STEP, TEXT, TEXT_END, TEXT, TEXT_END, STEP_END, FINISH, DONE),
        sse(START, STEP, STEP, STEP_END, FINISH, DONE),
        sse(START, STEP, FINISH, DONE),
        sse(START, STEP_END, FINISH, DONE),
        sse(START, STEP, OUTPUT, STEP_END, FINISH, DONE),
        sse(START, STEP, CALL, OUTPUT, TEXT, DELTA, TEXT_END, STEP_END, FINISH, DONE),
        sse(START, {"type": "done"}, FINISH, DONE),
        sse(START, {**FINISH, "usage": {}}, DONE),
        sse(START, {**FINISH, "finishReason": "aborted"}, DONE),
        sse(START, {**FINISH, "finishReason": None}, DONE),
        sse(START, {"type": "error", "errorText": 1}, DONE),
        sse(START, {"type": "error", "error": "x"}, DONE),
        sse(START, {"type": "abort", "reason": "x"}, DONE),
        sse(START, {"type": "text-start", "id": 1}, FINISH, DONE),
        sse(START, STEP, {**TEXT, "providerMetadata": {"a": 1}}, TEXT_END, STEP_END, FINISH, DONE),
        sse(START, {"type": "data-", "data": 1}, FINISH, DONE),
        sse(START, FINISH, DONE)[:-1],
        sse(START, '{"type":"message-metadata","messageMetadata":NaN}', FINISH, DONE),
        b"",
    ],
)
def test_the_checker_refuses_what_breaks_a_client(broken: bytes) -> None:
    with pytest.raises(Violation):
        check(broken)
