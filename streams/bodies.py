"""A request body, in any of the shapes clients send, as one `Incoming`. Pure.

Plain text · a JSON array of messages · `{messages, id?, trigger?, messageId?}` of the AI SDK · `{message}` ·
`role/content/tool_calls` as OpenAI has them · `{approvals, toolResults}`. What is wrong is named by JSON pointer.
Messages are read by `streams.body_messages`.
"""

import re

import msgspec

from streams import body_messages
from streams.body_values import Invalid, InvalidBody, Value, decode_json
from streams.messages import ApprovalAnswer, ChatMessage, ClientToolResult, Incoming, TextPart

MAX_MESSAGES = 500
MAX_ID_LENGTH = 128
_LOOKS_LIKE_JSON = re.compile(rb'\s*(\{\s*"|\[\s*\{)')
_CHAT_ID = re.compile(r"[^/\x00-\x1f\x7f-\x9f]{1,128}")


def parse(body: bytes, content_type: str, *, allow_system: bool) -> Incoming:
    """What `body` asks for. Raises InvalidBody, and nothing else, with at most 20 errors.

    A `text/*` body is the message itself. A JSON body must be JSON. For any other type (curl's default is that of a
    form) the body decides: what is not JSON is text. `allow_system` lets messages with the role `system` pass.
    """
    try:
        text = body.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        raise InvalidBody.at("", "invalid_encoding", "The body is not valid UTF-8.") from None
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        raise InvalidBody.at("", "unsupported_type", "Send JSON or plain text, not a multipart form.")
    if media_type.startswith("text/"):
        return _text(text)
    try:
        decoded = decode_json(text, "")
    except Invalid as reason:
        is_json = media_type == "application/json" or media_type.endswith("+json")
        if text.strip() and not is_json and not _LOOKS_LIKE_JSON.match(body):
            return _text(text)
        raise InvalidBody([reason.error]) from None
    try:
        return _document(decoded, text, allow_system)
    except Invalid as reason:
        raise InvalidBody([reason.error]) from None


def _text(text: str) -> Incoming:
    try:
        return _plain(Value(text, ""))
    except Invalid as reason:
        raise InvalidBody([reason.error]) from None


def _plain(value: Value) -> Incoming:
    message = ChatMessage("user", (TextPart(value.filled_text()),))
    return Incoming(messages=(message,), complete=False)


def _document(decoded: object, source: str, allow_system: bool) -> Incoming:
    match decoded:
        case bool() | int() | float():
            return _plain(Value(source.strip(), ""))
        case str():
            return _plain(Value(decoded, ""))
        case list():
            return _conversation(Value(decoded, ""), {}, allow_system)
        case dict():
            return _object(Value(decoded, ""), allow_system)
    raise Invalid("", "blank", "The body is null; send a message.")


def _object(body: Value, allow_system: bool) -> Incoming:
    """An object: `messages` counts before `message`. Keys we do not know are the client's own affair."""
    common: dict[str, object] = {
        "chat_id": _chat_id(body.get("id")),
        "message_id": _message_id(body.get("messageId")),
        "trigger": _trigger(body.get("trigger")),
        "approvals": _approvals(body.get("approvals")),
        "tool_results": _tool_results(body.get("toolResults")),
    }
    if body.has("messages"):
        return _conversation(body.key("messages"), common, allow_system)
    if body.has("message"):
        return _one_message(body.key("message"), common, allow_system)
    if common["approvals"] or common["tool_results"]:
        return Incoming(messages=(), complete=False, **common)  # type: ignore[arg-type]
    raise Invalid("", "missing", "Send one of: messages, message, approvals, toolResults.")


def _conversation(listed: Value, common: dict[str, object], allow_system: bool) -> Incoming:
    items = listed.items()
    if not items:
        raise Invalid(listed.pointer, "blank", "The list of messages is empty.")
    if len(items) > MAX_MESSAGES:
        raise Invalid(listed.pointer, "too_many", f"At most {MAX_MESSAGES} messages are accepted; these are {len(items)}.")
    return _incoming(items, common, allow_system, complete=True)


def _one_message(item: Value, common: dict[str, object], allow_system: bool) -> Incoming:
    if isinstance(item.raw, dict):
        return _incoming([item], common, allow_system, complete=False)
    if isinstance(item.raw, bool | int | float):
        item = Value(msgspec.json.encode(item.raw).decode(), item.pointer)
    message = ChatMessage("user", (TextPart(item.filled_text()),))
    return Incoming(messages=(message,), complete=False, auto_dialect=_dialect([], common), **common)  # type: ignore[arg-type]


def _incoming(items: list[Value], common: dict[str, object], allow_system: bool, *, complete: bool) -> Incoming:
    conversation = body_messages.read(items, allow_system=allow_system)
    merged = common | {
        "approvals": (*common.get("approvals", ()), *conversation.approvals),  # type: ignore[misc]
        "tool_results": (*common.get("tool_results", ()), *conversation.tool_results),  # type: ignore[misc]
    }
    return Incoming(
        messages=conversation.messages,
        complete=complete,
        auto_dialect=_dialect([item.raw for item in items], common),
        **merged,  # type: ignore[arg-type]
    )
