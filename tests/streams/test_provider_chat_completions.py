"""Chat completions as bytes: what goes out for a request, what comes in from an event."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.events import ReasoningDelta, TextDelta, Usage
from streams.messages import ChatMessage, FilePart, Part, TextPart, ToolCallPart, ToolResultPart
from streams.providers.base import Chunk, ModelFinished, ModelRequest
from streams.providers.chat_completions import MAX_TOKENS, AnswerReader, StreamFault, request_body


def sent(*messages: ChatMessage, **fields) -> dict:
    return msgspec.json.decode(request_body(ModelRequest("m", messages, 50, **fields), MAX_TOKENS))


def said(role, *parts: Part) -> ChatMessage:
    return ChatMessage(role, parts)


def read(*events: bytes) -> tuple[list[Chunk], AnswerReader]:
    reader, chunks = AnswerReader(), []
    for event in events:
        reader.read(event, chunks)
    return chunks, reader


def delta(**fields) -> bytes:
    return msgspec.json.encode({"choices": [{"index": 0, "delta": fields, "finish_reason": None}]})


STOP = b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'


def test_a_request_asks_for_a_stream_with_usage_and_a_bound() -> None:
    body = sent(said("user", TextPart("Hi")), system="Be kind.", temperature=0.0, top_p=0.5, stop_sequences=("END",))
    assert body == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 50,
        "temperature": 0.0,
        "top_p": 0.5,
        "stop": ["END"],
    }


def test_what_is_not_set_is_not_sent() -> None:
    assert set(sent(said("user", TextPart("Hi")))) == {"model", "messages", "stream", "stream_options", "max_tokens"}


def test_files_travel_as_openai_takes_them() -> None:
    image, pdf = "https://x.example/a.png", "data:application/pdf;base64,AAAA"
    parts = (
        TextPart("See"),
        FilePart(image, "image/png"),
        FilePart("https://x.example/unknown"),
        FilePart(pdf, "application/pdf", "a.pdf"),
        FilePart("https://x.example/b.pdf", "application/pdf", "b.pdf"),
    )
    assert sent(said("user", *parts))["messages"][0]["content"] == [
        {"type": "text", "text": "See"},
        {"type": "image_url", "image_url": {"url": image}},
        {"type": "image_url", "image_url": {"url": "https://x.example/unknown"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}},
        {"type": "text", "text": "[file b.pdf: https://x.example/b.pdf]"},
    ]


def test_calls_and_results_in_one_message_become_messages_in_order() -> None:
    parts = (
        TextPart("I look."),
        ToolCallPart("c1", "search", {"q": "ü"}),
        ToolCallPart("c2", "time", {}),
        ToolResultPart("c1", "search", {"hits": 2}),
        ToolResultPart("c2", "time", "noon"),
        TextPart("Found it."),
    )
    assert sent(said("assistant", *parts))["messages"] == [
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"q":"ü"}'}},
                {"id": "c2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"hits":2}'},
        {"role": "tool", "tool_call_id": "c2", "content": "noon"},
        {"role": "assistant", "content": "Found it."},
    ]


def test_a_call_alone_has_no_content_and_a_tool_message_stands_alone() -> None:
    messages = sent(said("assistant", ToolCallPart("c1", "t", None)), said("tool", ToolResultPart("c1", "t", [1])))[
        "messages"
    ]
    assert messages[0]["content"] is None
    assert messages[1] == {"role": "tool", "tool_call_id": "c1", "content": "[1]"}


def test_deltas_stay_in_the_providers_cut_and_empty_ones_vanish() -> None:
    chunks, reader = read(delta(role="assistant", content=""), delta(content="a"), delta(content="b"), STOP, b"[DONE]")
    assert chunks == [TextDelta("a"), TextDelta("b")]
    assert reader.whole
    assert reader.end() == [ModelFinished("stop")]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_is_read_under_either_name(name: str) -> None:
    assert read(delta(**{name: "hm"}, content="ah"))[0] == [ReasoningDelta("hm"), TextDelta("ah")]


def test_reasoning_sent_under_both_names_counts_once() -> None:
    assert read(delta(reasoning_content="hm", reasoning="hm"))[0] == [ReasoningDelta("hm")]


def test_a_refusal_is_text() -> None:
    assert read(delta(refusal="I will not."))[0] == [TextDelta("I will not.")]


@pytest.mark.parametrize(
    ("reason", "ours"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool-calls"),
        ("function_call", "tool-calls"),
        ("content_filter", "content-filter"),
        ("eos", "other"),
    ],
)
def test_finish_reasons(reason: str, ours: str) -> None:
    event = msgspec.json.encode({"choices": [{"delta": {"content": "x"}, "finish_reason": reason}]})
    chunks, reader = read(event)
    assert chunks == [TextDelta("x")]
    assert reader.end() == [ModelFinished(ours)]


def test_done_without_a_reason_is_another_end() -> None:
    assert read(delta(content="x"), b"[DONE]")[1].end() == [ModelFinished("other")]


def test_an_answer_without_either_is_not_whole() -> None:
    assert not read(delta(content="x"))[1].whole


def test_nothing_after_done_is_read() -> None:
    assert read(b"[DONE]", b"not json", delta(content="x"))[0] == []


def test_only_the_first_choice_is_the_answer() -> None:
    assert read(b'{"choices":[{"index":1,"delta":{"content":"no"}},{"index":0,"delta":{"content":"yes"}}]}')[0] == [
        TextDelta("yes")
    ]


FULL = (
    '{"prompt_tokens":10,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":4},'
    '"completion_tokens_details":{"reasoning_tokens":3}}'
)


@pytest.mark.parametrize(
    ("usage", "read_as"),
    [
        (FULL, Usage(10, 7, 3, 4)),
        ('{"prompt_tokens":10,"completion_tokens":7}', Usage(10, 7)),
        ('{"prompt_tokens":10.0,"completion_tokens":7.0}', Usage(10, 7)),
        ('{"prompt_tokens":10,"completion_tokens":7,"prompt_tokens_details":null}', Usage(10, 7)),
        # More cached than there was, more reasoning than was said: no report may make a negative count.
        (FULL.replace(":4}", ":40}").replace(":3}", ":30}"), Usage(10, 7, 7, 10)),
        (FULL.replace(":4}", ":-4}").replace(":3}", ":-3}"), Usage(10, 7)),
        # Reasoning counted beside the completion, as the total shows.
        (FULL.replace('"completion_tokens":7', '"completion_tokens":7,"total_tokens":20'), Usage(10, 10, 3, 4)),
        (FULL.replace('"completion_tokens":7', '"completion_tokens":7,"total_tokens":17'), Usage(10, 7, 3, 4)),
        ("null", None),
        ("{}", None),
        ('{"prompt_tokens":10}', None),
        ('{"prompt_tokens":-1,"completion_tokens":7}', None),
        ('{"prompt_tokens":1.5,"completion_tokens":7}', None),
        ('{"prompt_tokens":10,"completion_tokens":99999999999999999999}', None),
        ('{"prompt_tokens":1e300,"completion_tokens":7}', None),
        ('{"prompt_tokens":1e999,"completion_tokens":7}', None),
        ('{"prompt_tokens":"10","completion_tokens":7}', None),
        ("[]", None),
        ("5", None),
        ('"many"', None),
    ],
)
def test_usage_is_taken_from_any_event_and_nonsense_is_none(usage: str, read_as: Usage | None) -> None:
    chunks, reader = read(b'{"choices":[{"delta":{"content":"x"}}],"usage":%b}' % usage.encode(), STOP, b"[DONE]")
    assert chunks == [TextDelta("x")]
    assert reader.end() == ([read_as] if read_as else []) + [ModelFinished("stop")]


def test_the_last_good_report_counts_once() -> None:
    running = [b'{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":%d}}' % i for i in (1, 2, 3)]
    assert read(*running, b'{"choices":[],"usage":{}}', STOP)[1].end() == [Usage(10, 3), ModelFinished("stop")]


@pytest.mark.parametrize(
    "event",
    [
        b'{"error":{"message":"down"}}',
        b'{"error":"down"}',
        b'{"error":{"message":"down"},"choices":[]}',
        b'{"object":"error","message":"down"}',
        b'{"choices":[{"delta":{"content":""},"finish_reason":"error"}]}',
        b"not json",
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe",
        b'{"choices":{}}',
        b'{"choices":[null]}',
        b'{"choices":[{"delta":{"content":5}}]}',
        b'{"choices":[{"delta":{"content":"\xff"}}]}',
        b'{"choices":[{"delta":{"content":"\\ud800"}}]}',
        b"[" * 100_000,
        b"[done]",
    ],
)
def test_what_ends_an_answer_keeps_what_came_before(event: bytes) -> None:
    reader, chunks = AnswerReader(), []
    reader.read(delta(content="before"), chunks)
    with pytest.raises(StreamFault):
        reader.read(event, chunks)
    assert chunks == [TextDelta("before")]


@pytest.mark.parametrize(
    "event",
    [
        b"{}",
        b'{"error":null,"choices":[]}',
        b'{"choices":null}',
        b'{"choices":[{}]}',
        b'{"choices":[{"delta":null}]}',
        b'{"choices":[{"delta":{"content":null,"tool_calls":[{"index":0}]}}],"anything":{"else":[1]}}',
        b'{"type":"ping"}',
    ],
)
def test_what_says_nothing_is_passed_over(event: bytes) -> None:
    chunks, reader = read(event)
    assert chunks == []
    assert not reader.spoken


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_by_name(event: bytes) -> None:
    with contextlib.suppress(StreamFault):
        AnswerReader().read(event, [])


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner)))
def test_any_value_of_any_field_is_read_or_refused_by_name(value: object) -> None:
    for shape in ({"choices": value}, {"choices": [{"delta": value}]}, {"usage": {"prompt_tokens": value}}):
        try:
            event = msgspec.json.encode(shape)
        except UnicodeEncodeError:
            continue
        with contextlib.suppress(StreamFault):
            AnswerReader().read(event, [])
