"""Request bodies: every accepted shape, each refusal with its pointer, and nothing but InvalidBody for any bytes."""

import json

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.bodies import InvalidBody, parse
from streams.messages import (
    ApprovalAnswer,
    ChatMessage,
    ClientToolResult,
    FilePart,
    Incoming,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
HI = {"type": "text", "text": "hi"}
ASK = {"role": "user", "content": "hi"}


def parsed(body: object, content_type: str = JSON, *, allow_system: bool = False) -> Incoming:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse(raw, content_type, allow_system=allow_system)


def pointers(body: object, content_type: str = JSON) -> list[tuple[str, str]]:
    with pytest.raises(InvalidBody) as raised:
        parsed(body, content_type)
    assert all(error.detail.endswith(".") for error in raised.value.errors)
    return [(error.pointer, error.code) for error in raised.value.errors]


def said(incoming: Incoming) -> list[str]:
    return [message.text for message in incoming.messages]


def assistant(*parts: dict[str, object]) -> dict[str, object]:
    return {"id": "a", "role": "assistant", "parts": list(parts)}


def ui(*messages: dict[str, object]) -> dict[str, object]:
    return {"id": "chat-of-sixteen-chars", "trigger": "submit-message", "messages": list(messages)}


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        (b"Hello, you", "text/plain; charset=utf-8", "Hello, you"),
        (b"Hello, you", FORM, "Hello, you"),
        (b"Hello, you", "", "Hello, you"),
        (b"\xef\xbb\xbfHello", "", "Hello"),
        (b'{"message": "hi"}', "text/plain", '{"message": "hi"}'),
        (b'{"message": "hi"}', FORM, "hi"),
        (b"[shrug] {smile}", "", "[shrug] {smile}"),
        (b"null", "text/plain", "null"),
        (b" 42 ", JSON, "42"),
        (b"1.50", FORM, "1.50"),
        (b"true", JSON, "true"),
        (b"false", "", "false"),
        (b'"a \\ud83d\\ude00"', JSON, "a 😀"),
        (b'{"message": 0}', JSON, "0"),
        (b'{"message": false}', "application/vnd.api+json", "false"),
        (b'{"message": {"role": "user", "content": "hi"}}', JSON, "hi"),
        (b'{"message": {"role": "user", "parts": [{"type": "text", "text": "hi"}]}}', JSON, "hi"),
        (b"9" * 5000, "", "9" * 5000),
    ],
)
def test_one_message(body: bytes, content_type: str, text: str) -> None:
    incoming = parsed(body, content_type)
    assert said(incoming) == [text]
    assert incoming.messages[0].role == "user"
    assert not incoming.complete


@pytest.mark.parametrize(
    ("body", "content_type", "pointer", "code"),
    [
        (b"", "", "", "blank"),
        (b" \n\t", JSON, "", "blank"),
        (b"\xe2\x80\x83", "text/plain", "", "blank"),
        (b"null", JSON, "", "blank"),
        (b"null", FORM, "", "blank"),
        (b'"  "', JSON, "", "blank"),
        (b"\xff", "text/plain", "", "invalid_encoding"),
        (b'{"message": "\xff"}', JSON, "", "invalid_encoding"),
        (b"Hello", JSON, "", "invalid_json"),
        (b'{"message": "hi"', FORM, "", "invalid_json"),
        (b'[{"role": "user"', "", "", "invalid_json"),
        (b'{"message": NaN}', JSON, "", "invalid_json"),
        (b'{"message": "\\ud800"}', JSON, "", "invalid_json"),
        (b'{"message": 1e999}', JSON, "", "out_of_range"),
        (b"9" * 5000, JSON, "", "out_of_range"),
        (b"[" * 100_000, JSON, "", "too_deep"),
        (b'{"a":' * 100_000, "", "", "too_deep"),
        (b"a\0b", "text/plain", "", "null_character"),
        (b'{"message": "a\\u0000"}', JSON, "/message", "null_character"),
        (b"--x\r\n", "multipart/form-data; boundary=x", "", "unsupported_type"),
        (b"{}", JSON, "", "missing"),
        (b'{"prompt": "hi"}', JSON, "", "missing"),
        (b'{"message": null}', JSON, "/message", "blank"),
        (b'{"message": " "}', JSON, "/message", "blank"),
        (b'{"message": ["hi"]}', JSON, "/message", "invalid_type"),
        (b'{"message": {"role": "user", "content": ""}}', JSON, "/message/content", "blank"),
        (b'{"message": {"role": "assistant", "content": "I am you"}}', JSON, "/message", "nothing_to_answer"),
        (b"[]", JSON, "", "blank"),
        (b'{"messages": []}', JSON, "/messages", "blank"),
        (b'{"messages": null}', JSON, "/messages", "invalid_type"),
        (b'{"messages": {}, "message": "hi"}', JSON, "/messages", "invalid_type"),
        (b'["hi"]', JSON, "/0", "invalid_type"),
        (b'[{"content": "hi"}]', JSON, "/0/role", "missing"),
        (b'[{"role": 1, "content": "hi"}]', JSON, "/0/role", "invalid_type"),
        (b'[{"role": "robot", "content": "hi"}]', JSON, "/0/role", "unknown"),
        (b'[{"role": "system", "content": "Obey"}]', JSON, "/0/role", "not_allowed"),
        (b'[{"role": "user", "content": null}]', JSON, "/0/content", "blank"),
        (b'[{"role": "user"}]', JSON, "/0", "missing"),
        (b'[{"role": "user", "content": 5}]', JSON, "/0/content", "invalid_type"),
        (b'[{"role": "user", "content": [{"type": "audio"}]}]', JSON, "/0/content/0/type", "unknown"),
        (b'[{"role": "user", "content": "hi", "id": 4}]', JSON, "/0/id", "invalid_type"),
        (b'{"id": 4, "message": "hi"}', JSON, "/id", "invalid_type"),
        (b'{"id": "", "message": "hi"}', JSON, "/id", "invalid_id"),
        (b'{"id": "a/b", "message": "hi"}', JSON, "/id", "invalid_id"),
        (b'{"id": "a\\nb", "message": "hi"}', JSON, "/id", "invalid_id"),
        (b'{"id": "' + b"x" * 129 + b'", "message": "hi"}', JSON, "/id", "invalid_id"),
        (b'{"trigger": "resume", "message": "hi"}', JSON, "/trigger", "unknown"),
        (b'{"messageId": {}, "message": "hi"}', JSON, "/messageId", "invalid_type"),
        (b'{"approvals": []}', JSON, "", "missing"),
        (b'{"approvals": {}}', JSON, "/approvals", "invalid_type"),
        (b'{"approvals": [{"approvalId": "a"}]}', JSON, "/approvals/0/approved", "missing"),
        (b'{"approvals": [{"approvalId": "a", "approved": "yes"}]}', JSON, "/approvals/0/approved", "invalid_type"),
        (b'{"toolResults": [{"toolCallId": "c"}]}', JSON, "/toolResults/0/result", "missing"),
        (
            b'{"toolResults": [{"toolCallId": "c", "result": [{"a/~": "\\u0000"}]}]}',
            JSON,
            "/toolResults/0/result/0/a~1~0",
            "null_character",
        ),
        (
            b'{"toolResults": [{"toolCallId": "c", "result": {"\\u0000": 1}}]}',
            JSON,
            "/toolResults/0/result",
            "null_character",
        ),
        (
            b'{"toolResults": [{"toolCallId": "c", "result": [18446744073709551616]}]}',
            JSON,
            "/toolResults/0/result/0",
            "out_of_range",
        ),
        (
            b'{"toolResults": [{"toolCallId": "c", "result": ' + b"[" * 65 + b"]" * 65 + b"}]}",
            JSON,
            "/toolResults/0/result",
            "too_deep",
        ),
    ],
)
def test_each_refusal_names_its_place(body: bytes, content_type: str, pointer: str, code: str) -> None:
    assert pointers(body, content_type) == [(pointer, code)]


@pytest.mark.parametrize(
    ("part", "pointer", "code"),
    [
        ({"type": "hologram"}, "/type", "unknown"),
        ({"type": "tool-"}, "/type", "unknown"),
        ({"type": None}, "/type", "invalid_type"),
        ({}, "/type", "missing"),
        ("hi", "", "invalid_type"),
        ({"type": "text"}, "/text", "missing"),
        ({"type": "text", "text": ["hi"]}, "/text", "invalid_type"),
        ({"type": "text", "text": "a\0"}, "/text", "null_character"),
        ({"type": "file"}, "/url", "missing"),
        ({"type": "file", "url": "file:///etc/passwd"}, "/url", "invalid_url"),
        ({"type": "file", "url": "javascript:alert(1)"}, "/url", "invalid_url"),
        ({"type": "file", "url": "https://"}, "/url", "invalid_url"),
        ({"type": "file", "url": "data:,x", "mediaType": 3}, "/mediaType", "invalid_type"),
        ({"type": "tool-x", "toolCallId": "c", "state": "lost"}, "/state", "unknown"),
        ({"type": "tool-x", "toolCallId": "c", "state": "output-available"}, "/output", "missing"),
        ({"type": "dynamic-tool", "toolCallId": "c", "state": "input-available"}, "/toolName", "missing"),
        (
            {"type": "tool-x", "toolCallId": "c", "state": "approval-responded", "approval": {"id": "p"}},
            "/approval/approved",
            "missing",
        ),
    ],
)
def test_each_bad_part_names_its_place(part: object, pointer: str, code: str) -> None:
    body = {"messages": [ASK, {"role": "assistant", "parts": [HI, part]}, ASK]}
    assert pointers(body) == [("/messages/1/parts/1" + pointer, code)]


def test_several_bad_messages_are_all_named_up_to_twenty() -> None:
    assert pointers([{"role": "x"}, ASK, {"role": "user"}]) == [("/0/role", "unknown"), ("/2", "missing")]
    assert len(pointers([{"role": "x"}] * 30)) == 20


def test_five_hundred_messages_and_no_more() -> None:
    assert len(parsed([ASK] * 500).messages) == 500
    assert pointers([ASK] * 501) == [("", "too_many")]
    assert pointers({"messages": [ASK] * 501}) == [("/messages", "too_many")]


def test_a_conversation_of_the_ai_sdk() -> None:
    body = ui(
        {
            "id": "u1",
            "role": "user",
            "metadata": {"a": 1},
            "parts": [HI, {"type": "file", "mediaType": "text/plain", "filename": "a.txt", "url": "data:,x"}],
        },
        assistant(
            {"type": "step-start"},
            {"type": "reasoning", "text": "hm", "state": "done"},
            {"type": "data-chart", "data": {}},
            {"type": "source-url", "sourceId": "s", "url": "https://x.example"},
            {"type": "text", "text": "Hello.", "state": "done"},
        ),
        {"id": "u2", "role": "user", "parts": [{"type": "text", "text": "more"}]},
    ) | {"messageId": "u2", "ourOwn": [1]}
    assert parsed(body) == Incoming(
        messages=(
            ChatMessage("user", (TextPart("hi"), FilePart("data:,x", "text/plain", "a.txt")), "u1"),
            ChatMessage("assistant", (TextPart("Hello."),), "a"),
            ChatMessage("user", (TextPart("more"),), "u2"),
        ),
        complete=True,
        chat_id="chat-of-sixteen-chars",
        trigger="submit-message",
        message_id="u2",
        auto_dialect="ui",
    )


def test_an_answer_that_failed_before_its_first_word_does_not_block_the_chat() -> None:
    for parts in ([], [{"type": "step-start"}], [{"type": "text", "text": ""}]):
        incoming = parsed(ui(ASK, assistant(*parts), ASK))
        assert [message.role for message in incoming.messages] == ["user", "user"]


def test_tools_of_the_last_assistant_message_are_answers() -> None:
    incoming = parsed(
        ui(
            ASK,
            assistant(
                {"type": "step-start"},
                {"type": "tool-old", "toolCallId": "c0", "state": "output-available", "input": {}, "output": 0},
                {"type": "step-start"},
                {
                    "type": "tool-find",
                    "toolCallId": "c1",
                    "state": "output-available",
                    "input": {"q": 1},
                    "output": None,
                },
                {
                    "type": "dynamic-tool",
                    "toolName": "rm",
                    "toolCallId": "c2",
                    "state": "approval-responded",
                    "input": {},
                    "approval": {"id": "p2", "approved": False, "reason": "no"},
                },
                {"type": "tool-late", "toolCallId": "c3", "state": "input-streaming"},
                {"type": "tool-sad", "toolCallId": "c4", "state": "output-error", "input": {}, "errorText": "broke"},
            ),
        )
    )
    assert incoming.approvals == (ApprovalAnswer("p2", approved=False, reason="no"),)
    assert incoming.tool_results == (ClientToolResult("c1", None), ClientToolResult("c4", {"error": "broke"}))
    assert incoming.messages[1].parts == (
        ToolCallPart("c0", "old", {}),
        ToolResultPart("c0", "old", 0),
        ToolCallPart("c1", "find", {"q": 1}),
        ToolResultPart("c1", "find", None),
        ToolCallPart("c2", "rm", {}),
        ToolCallPart("c4", "sad", {}),
        ToolResultPart("c4", "sad", {"error": "broke"}),
    )


def test_answers_in_older_messages_count_no_more() -> None:
    tool = {"type": "tool-x", "toolCallId": "c", "state": "output-available", "input": {}, "output": 1}
    incoming = parsed(ui(ASK, assistant(tool), ASK))
    assert incoming.tool_results == ()


@pytest.mark.parametrize(
    "last",
    [
        assistant(HI),
        assistant({"type": "tool-x", "toolCallId": "c", "state": "input-available", "input": {}}),
        assistant(
            {"type": "tool-x", "toolCallId": "c", "state": "approval-requested", "input": {}, "approval": {"id": "p"}}
        ),
        assistant(
            {"type": "tool-x", "toolCallId": "c", "state": "output-available", "output": 1}, {"type": "step-start"}, HI
        ),
    ],
)
def test_the_last_message_must_be_one_to_answer(last: dict[str, object]) -> None:
    assert pointers(ui(ASK, last)) == [("/messages/1", "nothing_to_answer")]


def test_a_user_cannot_speak_as_a_tool() -> None:
    tool = {"type": "tool-x", "toolCallId": "c", "state": "output-available", "input": {}, "output": 1}
    assert pointers([{"role": "user", "parts": [tool]}]) == [("/0/role", "not_allowed")]


def test_openai_messages_with_tools() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"q": 1}'}}
    other = {"id": "c2", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    incoming = parsed(
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "see"},
                    {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
                ],
            },
            {"role": "assistant", "content": None, "tool_calls": [call, other]},
            {"role": "tool", "tool_call_id": "c1", "content": "found"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "seen"}]},
        ]
    )
    assert incoming.messages[0].parts == (TextPart("see"), FilePart("https://x.example/a.png", "image/*"))
    assert incoming.messages[1].parts == (ToolCallPart("c1", "find", {"q": 1}), ToolCallPart("c2", "look", {}))
    assert incoming.messages[2].parts == (ToolResultPart("c1", "find", "found"),)
    assert incoming.tool_results == (ClientToolResult("c1", "found"), ClientToolResult("c2", "seen"))
    assert incoming.auto_dialect == "plain"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [("{", "invalid_json"), ("[" * 9999, "too_deep"), ('{"a": "\\u0000"}', "null_character"), (5, "invalid_type")],
)
def test_bad_arguments_of_an_openai_call(arguments: object, code: str) -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": arguments}}
    body = [ASK, {"role": "assistant", "tool_calls": [call]}, ASK]
    [(pointer, got)] = pointers(body)
    assert pointer.startswith("/1/tool_calls/0/function/arguments")
    assert got == code


def test_a_tool_answer_needs_its_call_unless_the_rest_is_stored_with_us() -> None:
    answer = {"role": "tool", "tool_call_id": "c", "content": "x"}
    assert pointers([ASK, answer]) == [("/1/tool_call_id", "unknown")]
    assert parsed({"message": answer}).tool_results == (ClientToolResult("c", "x"),)


def test_messages_of_ai_sdk_4() -> None:
    invocation = {"state": "result", "toolCallId": "c", "toolName": "find", "args": {"q": 1}, "result": 2, "step": 0}
    body = {
        "id": "chat",
        "messages": [
            {
                "role": "user",
                "content": "hi",
                "parts": [HI],
                "experimental_attachments": [{"name": "a", "contentType": "image/png", "url": "data:,x"}],
            },
            {
                "role": "assistant",
                "content": "",
                "parts": [
                    {"type": "tool-invocation", "toolInvocation": invocation},
                    {"type": "file", "mimeType": "image/png", "data": "AAAA"},
                ],
            },
            {"role": "user", "content": "go", "parts": []},
        ],
    }
    incoming = parsed(body)
    assert incoming.auto_dialect == "v4"
    assert incoming.messages[0].parts == (TextPart("hi"), FilePart("data:,x", "image/png", "a"))
    assert incoming.messages[1].parts == (
        ToolCallPart("c", "find", {"q": 1}),
        ToolResultPart("c", "find", 2),
        FilePart("data:image/png;base64,AAAA", "image/png"),
    )
    assert said(incoming)[2] == "go"


@pytest.mark.parametrize(
    ("body", "dialect"),
    [
        ({"message": "hi"}, "plain"),
        ({"message": "hi", "trigger": "submit-message"}, "ui"),
        ({"message": {"role": "user", "parts": [HI]}}, "ui"),
        ([{"role": "user", "parts": [HI]}], "ui"),
        ({"messages": [ASK]}, "plain"),
        ({"messages": [ASK], "id": "x"}, "plain"),
        ({"messages": [ASK | {"parts": [HI]}], "id": "x"}, "v4"),
        ({"messages": [ASK | {"parts": [HI]}]}, "plain"),
        ({"messages": [ASK | {"parts": [HI]}], "id": "x", "trigger": "submit-message"}, "ui"),
    ],
)
def test_the_body_tells_the_dialect(body: object, dialect: str) -> None:
    assert parsed(body).auto_dialect == dialect


def test_answers_without_a_message() -> None:
    body = {
        "id": "x",
        "approvals": [{"approvalId": "p", "approved": True}],
        "toolResults": [{"toolCallId": "c", "result": {"a": [1, None]}}],
    }
    assert parsed(body) == Incoming(
        messages=(),
        complete=False,
        chat_id="x",
        approvals=(ApprovalAnswer("p", approved=True),),
        tool_results=(ClientToolResult("c", {"a": [1, None]}),),
    )


def test_system_messages_where_they_are_allowed() -> None:
    body = [{"role": "system", "content": "Be brief."}, ASK]
    assert [message.role for message in parsed(body, allow_system=True).messages] == ["system", "user"]


@pytest.mark.parametrize("chat_id", ["x", "x" * 128, "a b?c#é😀", "."])
def test_chat_ids(chat_id: str) -> None:
    assert parsed({"id": chat_id, "message": "hi"}).chat_id == chat_id


KEYS = [
    "messages",
    "message",
    "role",
    "content",
    "parts",
    "type",
    "text",
    "id",
    "trigger",
    "toolInvocation",
    "state",
    "approvals",
    "toolResults",
    "toolCallId",
    "tool_calls",
    "function",
    "arguments",
    "name",
    "url",
    "input",
    "output",
    "approval",
    "experimental_attachments",
    "\0",
    "~/",
]
WORDS = [
    "user",
    "assistant",
    "system",
    "tool",
    "text",
    "file",
    "tool-x",
    "dynamic-tool",
    "tool-invocation",
    "output-available",
    "approval-responded",
    "submit-message",
    "image_url",
    "{",
    "",
    "\0",
    "hi",
    "\ud800",
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=25,
)
types = st.sampled_from([JSON, FORM, "", "text/plain", "application/problem+json", ";;", "multipart/form-data", "\0"])


WHOLE: list[object] = [
    ui(
        {"id": "u", "role": "user", "parts": [HI, {"type": "file", "url": "https://x.example", "mediaType": "a/b"}]},
        assistant(
            {"type": "tool-x", "toolCallId": "c", "state": "output-available", "input": [1], "output": {"a": 1}},
            {
                "type": "tool-y",
                "toolCallId": "d",
                "state": "approval-responded",
                "approval": {"id": "p", "approved": True},
            },
            {"type": "dynamic-tool", "toolName": "z", "toolCallId": "e", "state": "output-error", "errorText": "no"},
        ),
    ),
    [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "r"}]},
    ],
    {
        "id": "i",
        "approvals": [{"approvalId": "a", "approved": True}],
        "toolResults": [{"toolCallId": "c", "result": 1}],
    },
    {"id": "i", "message": {"role": "user", "content": "x", "parts": [{"type": "data-x"}, HI]}},
]


def with_one_changed(value: object, draw: st.DrawFn) -> object:
    """The value with something else in one random place, or without it."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 5)):
        key = draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
        copy = dict(value) if isinstance(value, dict) else list(value)
        if draw(st.integers(0, 9)):
            copy[key] = with_one_changed(value[key], draw)
        else:
            del copy[key]
        return copy
    return draw(anything)


@st.composite
def nearly_right(draw: st.DrawFn) -> object:
    return with_one_changed(draw(st.sampled_from(WHOLE)), draw)


def strings(value: object) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [*value, *(text for item in value.values() for text in strings(item))]
        case list() | tuple():
            return [text for item in value for text in strings(item)]
    return []


def holds(incoming: Incoming) -> None:
    """What every parsed body keeps, whatever it was: it can be stored as JSON, and there is something to answer."""
    assert msgspec.json.decode(msgspec.json.encode(incoming), type=Incoming) == incoming
    assert not [text for text in strings(msgspec.to_builtins(incoming)) if "\0" in text]
    assert incoming.messages or incoming.approvals or incoming.tool_results
    assert all(message.parts for message in incoming.messages)


@pytest.mark.parametrize("body", WHOLE)
def test_the_bodies_to_spoil_are_right(body: object) -> None:
    holds(parsed(body))


@settings(max_examples=400)
@given(anything | nearly_right(), types, st.booleans())
def test_any_json_is_read_or_refused(value: object, content_type: str, allow_system: bool) -> None:
    try:
        incoming = parse(json.dumps(value).encode(), content_type, allow_system=allow_system)
    except InvalidBody as refused:
        incoming = None
        errors = refused.errors
    if incoming is None:
        assert errors
    else:
        holds(incoming)


@given(st.binary(max_size=60), types)
@example(b'"\\ud800\\ud800"', JSON)
@example(b"\xed\xa0\x80", "text/plain")
def test_any_bytes_are_read_or_refused(body: bytes, content_type: str) -> None:
    try:
        incoming = parse(body, content_type, allow_system=False)
    except InvalidBody as refused:
        incoming = None
        errors = refused.errors
    if incoming is None:
        assert errors
    else:
        holds(incoming)
