"""A request body, in any of the shapes clients send, as one `Incoming`. Pure.

Plain text · a JSON array of messages · `{messages, id?, trigger?, messageId?}` of the AI SDK · `{message}` ·
`role/content/tool_calls` as OpenAI has them · `{approvals, toolResults}`. What is wrong is named by JSON pointer. The
messages themselves are read by `streams.body_messages`.
"""

import re
from typing import Literal

import msgspec

from streams import body_messages
from streams.body_values import FieldError, InvalidBody, Value, decode_json, invalid
from streams.messages import ApprovalAnswer, ChatMessage, ClientToolResult, Incoming, TextPart

__all__ = ["MAX_MESSAGES", "FieldError", "InvalidBody", "parse"]

MAX_MESSAGES = 500
_LOOKS_LIKE_JSON = re.compile(r'\s*(\{\s*"|\[\s*\{)')
_CHAT_ID = re.compile(r"[^/\x00-\x1f\x7f-\x9f]{1,128}")


def parse(body: bytes, content_type: str, *, allow_system: bool) -> Incoming:
    """What `body` asks for. Raises InvalidBody, and nothing else.

    A `text/*` body is the message itself, a JSON body must be JSON. For any other type (curl's default is that of a
    form) the body decides: what is not JSON is text. `allow_system` lets messages with the role `system` pass.
    """
    try:
        source = body.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        raise invalid("", "invalid_encoding", "The body is not valid UTF-8.") from None
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        raise invalid("", "unsupported_type", "Send JSON or plain text, not a multipart form.")
    if not source.strip():
        raise invalid("", "blank", "The body is blank; send a message.")
    if media_type.startswith("text/"):
        return _text(Value(source, ""))
    try:
        decoded = decode_json(source, "")
    except InvalidBody:
        if media_type == "application/json" or media_type.endswith("+json") or _LOOKS_LIKE_JSON.match(source):
            raise
        return _text(Value(source, ""))
    match decoded:
        case bool() | int() | float():
            return _text(Value(source.strip(), ""))
        case list():
            return _conversation(Value(decoded, ""), allow_system)
        case dict():
            return _object(Value(decoded, ""), allow_system)
        case None:
            raise invalid("", "blank", "The body is null; send a message.")
    return _text(Value(decoded, ""))


def _text(value: Value) -> Incoming:
    message = ChatMessage("user", (TextPart(value.filled_text()),))
    return Incoming(messages=(message,), complete=False)


def _object(body: Value, allow_system: bool) -> Incoming:
    """`messages` counts before `message`. Keys that we do not know are the client's own affair."""
    approvals = tuple(_approval(item) for item in _listed(body, "approvals"))
    results = tuple(_tool_result(item) for item in _listed(body, "toolResults"))
    chat_id, trigger, message_id = body.get("id"), body.get("trigger"), body.get("messageId")
    if body.has("messages"):
        incoming = _conversation(body.key("messages"), allow_system)
    elif body.has("message"):
        incoming = _one_message(body.key("message"), allow_system)
    elif approvals or results:
        incoming = Incoming(messages=(), complete=False)
    else:
        raise invalid("", "missing", "Send one of: messages, message, approvals, toolResults.")
    return msgspec.structs.replace(
        incoming,
        chat_id=_chat_id(chat_id) if chat_id else None,
        trigger=trigger.one_of("submit-message", "regenerate-message") if trigger else None,
        message_id=message_id.filled_text(body_messages.MAX_ID_LENGTH) if message_id else None,
        approvals=approvals + incoming.approvals,
        tool_results=results + incoming.tool_results,
        auto_dialect=_auto_dialect(body),
    )


def _conversation(listed: Value, allow_system: bool) -> Incoming:
    items = _at_most(listed)
    if not items:
        raise invalid(listed.pointer, "blank", "The list of messages is empty.")
    return _incoming(items, allow_system, complete=True)


def _one_message(item: Value, allow_system: bool) -> Incoming:
    match item.raw:
        case dict():
            return _incoming([item], allow_system, complete=False)
        case bool() | int() | float():
            return _text(Value(msgspec.json.encode(item.raw).decode(), item.pointer))
        case None:
            raise invalid(item.pointer, "blank", "The message is null.")
    return _text(item)


def _incoming(items: list[Value], allow_system: bool, *, complete: bool) -> Incoming:
    read = body_messages.read(items, allow_system=allow_system, complete=complete)
    return Incoming(
        messages=read.messages,
        complete=complete,
        approvals=read.approvals,
        tool_results=read.tool_results,
        auto_dialect="ui" if any(_is_ui(item.raw) for item in items) else "plain",
    )


def _auto_dialect(body: Value) -> Literal["ui", "v4", "plain"]:
    """The dialect that a client with such a body understands. Only the AI SDK sends `trigger` or `parts`; its version 4
    still sends `content` besides."""
    listed = body.raw.get("messages", [body.raw.get("message")])  # type: ignore[attr-defined]
    if body.get("trigger") or any(_is_ui(message) for message in listed):
        return "ui"
    if body.get("id") and any(_has_parts(message) for message in listed):
        return "v4"
    return "plain"


def _has_parts(message: object) -> bool:
    return isinstance(message, dict) and isinstance(message.get("parts"), list)


def _is_ui(message: object) -> bool:
    return _has_parts(message) and not isinstance(message.get("content"), str)  # type: ignore[attr-defined]


def _chat_id(value: Value) -> str:
    text = value.text()
    if not _CHAT_ID.fullmatch(text):
        detail = "A chat id has 1 to 128 characters, without / and control characters."
        raise invalid(value.pointer, "invalid_id", detail)
    return text


def _listed(body: Value, name: str) -> list[Value]:
    value = body.get(name)
    return [] if value is None else _at_most(value)


def _at_most(value: Value) -> list[Value]:
    items = value.items()
    if len(items) > MAX_MESSAGES:
        raise invalid(value.pointer, "too_many", f"At most {MAX_MESSAGES} are accepted; these are {len(items)}.")
    return items


def _approval(item: Value) -> ApprovalAnswer:
    reason = item.get("reason")
    return ApprovalAnswer(
        approval_id=item.key("approvalId").filled_text(body_messages.MAX_ID_LENGTH),
        approved=item.key("approved").flag(),
        reason=reason.text() if reason else None,
    )


def _tool_result(item: Value) -> ClientToolResult:
    return ClientToolResult(
        tool_call_id=item.key("toolCallId").filled_text(body_messages.MAX_ID_LENGTH), result=item.key("result").json()
    )
