"""Messages as clients send them: UI messages with `parts` (AI SDK 4 to 7) and OpenAI's `role/content/tool_calls`. Pure.

What only shows state (reasoning, step marks, data and source parts) is dropped. A tool part becomes a call and, once it
is answered, a result right after it in the same message. The client's word about a tool counts for nothing by itself:
whoever uses `approvals` and `tool_results` looks them up among the pending calls stored on the server.
"""

import re
from typing import NamedTuple

from streams.body_values import FieldError, InvalidBody, Value, decode_json, invalid
from streams.messages import (
    ApprovalAnswer,
    ChatMessage,
    ClientToolResult,
    FilePart,
    Part,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

MAX_ID_LENGTH = 256
MAX_MESSAGE_ID_LENGTH = 128  # what the column of stored messages takes
MAX_ERRORS = 20
_NOT_FOR_THE_MODEL = re.compile(r"reasoning|step-start|source|(data|source)-.*", re.DOTALL)
_FILE_URL = re.compile(r"https?://[^/]|data:", re.IGNORECASE)
_TOOL_STATES = (
    "input-streaming",
    "input-available",
    "approval-requested",
    "approval-responded",
    "output-available",
    "output-error",
    "output-denied",
)


class Conversation(NamedTuple):
    """The messages that say something, and what the last of them answers to an agent that waits."""

    messages: tuple[ChatMessage, ...]
    approvals: tuple[ApprovalAnswer, ...]
    tool_results: tuple[ClientToolResult, ...]


class _Draft:
    """One message while its parts are read. `approvals` and `results` are those of its last step."""

    def __init__(self, tool_names: dict[str, str]) -> None:
        self.parts: list[Part] = []
        self.approvals: list[ApprovalAnswer] = []
        self.results: list[ClientToolResult] = []
        self.tool_names = tool_names

    def new_step(self) -> None:
        self.approvals, self.results = [], []

    def called(self, call_id: str, name: str, args: object) -> None:
        self.tool_names[call_id] = name
        self.parts.append(ToolCallPart(call_id, name, args))

    def answered(self, call_id: str, result: object) -> None:
        self.parts.append(ToolResultPart(call_id, self.tool_names.get(call_id, ""), result))
        self.results.append(ClientToolResult(call_id, result))

    def has_tools(self) -> bool:
        return any(isinstance(part, ToolCallPart | ToolResultPart) for part in self.parts)


def read(items: list[Value], *, allow_system: bool, complete: bool) -> Conversation:
    """The conversation in `items`, which is not empty. Raises InvalidBody with at most MAX_ERRORS errors.

    `complete` says that nothing went before, so that an answer to an unknown tool call is an error.

    An assistant message that says nothing is dropped: a client keeps one after an answer that failed before its first
    word. The last message must be one that an agent can answer.
    """
    messages: list[ChatMessage] = []
    errors: list[FieldError] = []
    tool_names: dict[str, str] = {}
    last = _Draft(tool_names)
    for item in items:
        try:
            draft = _Draft(tool_names)
            message = _message(item, draft, allow_system)
            if message.role == "tool" and complete and not message.parts[0].tool_name:  # type: ignore[union-attr]
                raise invalid(f"{item.pointer}/tool_call_id", "unknown", "This names no call of an earlier message.")
        except InvalidBody as reason:
            errors += reason.errors
            if len(errors) >= MAX_ERRORS:
                break
            continue
        if message.parts:
            if message.role == "tool" and messages and messages[-1].role == "tool":
                draft.results[:0] = last.results  # each of several calls is answered by a message of its own
            messages.append(message)
            last = draft
    if errors:
        raise InvalidBody(errors)
    if not messages or not (messages[-1].role == "user" or last.approvals or last.results):
        detail = "The last message must be the user's, or answer a tool call or an approval."
        raise invalid(items[-1].pointer, "nothing_to_answer", detail)
    return Conversation(tuple(messages), tuple(last.approvals), tuple(last.results))


def _message(item: Value, draft: _Draft, allow_system: bool) -> ChatMessage:
    role: Role = item.key("role").one_of("user", "assistant", "system", "tool")
    if role == "system" and not allow_system:
        raise invalid(f"{item.pointer}/role", "not_allowed", "System messages are not accepted here.")
    client_id = item.get("id")
    if role == "tool":
        _tool_answer(item, draft)
    else:
        _content(item, draft)
    if not draft.parts and role != "assistant":
        spoken = next((f"/{key}" for key in ("parts", "content") if item.has(key)), "")
        raise invalid(item.pointer + spoken, "blank", "The message has nothing in it.")
    if role in ("user", "system") and draft.has_tools():
        raise invalid(f"{item.pointer}/role", "not_allowed", "Only the assistant calls tools.")
    return ChatMessage(role, tuple(draft.parts), client_id.filled_text(MAX_MESSAGE_ID_LENGTH) if client_id else None)


def _content(item: Value, draft: _Draft) -> None:
    """`parts` says more than `content` where a client sends both."""
    parts, content, calls = item.get("parts"), item.get("content"), item.get("tool_calls")
    if not any(item.has(key) for key in ("parts", "content", "tool_calls")):
        raise invalid(item.pointer, "missing", "The message has neither content nor parts.")
    for part in parts.items() if parts else ():
        _ui_part(part, draft)
    if content and not draft.parts:
        _openai_content(content, draft)
    for call in calls.items() if calls else ():
        _openai_call(call, draft)
    attachments = item.get("experimental_attachments")
    for attachment in attachments.items() if attachments else ():
        draft.parts.append(_file(attachment, "contentType", "name"))


def _ui_part(part: Value, draft: _Draft) -> None:
    kind = part.key("type").text()
    if kind == "text":
        _say(part.key("text"), draft)
    elif kind == "file":
        draft.parts.append(_file(part, "mediaType", "filename"))
    elif kind == "tool-invocation":
        _invocation(part.key("toolInvocation"), draft)
    elif kind == "dynamic-tool":
        _tool(part, part.key("toolName").filled_text(MAX_ID_LENGTH), draft)
    elif kind.startswith("tool-") and len(kind) > len("tool-"):
        _tool(part, kind.removeprefix("tool-"), draft)
    elif kind == "step-start":
        draft.new_step()
    elif not _NOT_FOR_THE_MODEL.fullmatch(kind):
        raise invalid(f"{part.pointer}/type", "unknown", "This kind of part is not known.")


def _say(text: Value, draft: _Draft) -> None:
    if text.text().strip():
        draft.parts.append(TextPart(text.text()))


def _file(part: Value, media_type_key: str, name_key: str) -> FilePart:
    """AI SDK 4 sends base64 `data` and `mimeType` instead of a URL."""
    media_type, name = part.get(media_type_key) or part.get("mimeType"), part.get(name_key)
    kind = media_type.filled_text(MAX_ID_LENGTH) if media_type else None
    if part.has("data") and not part.has("url"):
        url = f"data:{kind or 'application/octet-stream'};base64,{part.key('data').filled_text()}"
    else:
        url = _file_url(part.key("url"))
    return FilePart(url, kind, name.text() if name else None)


def _file_url(value: Value) -> str:
    url = value.filled_text()
    if not _FILE_URL.match(url):
        raise invalid(value.pointer, "invalid_url", "A file must be given by an https:, http: or data: URL.")
    return url


def _tool(part: Value, name: str, draft: _Draft) -> None:
    """A tool part of AI SDK 5 and later. A call whose input is not complete is dropped."""
    state = part.key("state").one_of(*_TOOL_STATES)
    if state == "input-streaming":
        return
    call_id = part.key("toolCallId").filled_text(MAX_ID_LENGTH)
    args = part.get("input")
    draft.called(call_id, name, args.json() if args else {})
    if state == "approval-responded":
        draft.approvals.append(_approval(part.key("approval")))
    elif state == "output-available":
        draft.answered(call_id, part.key("output").json())
    elif state == "output-error":
        draft.answered(call_id, {"error": part.key("errorText").text()})
    elif state == "output-denied":
        draft.answered(call_id, {"error": "The user refused this call."})


def _approval(approval: Value) -> ApprovalAnswer:
    reason = approval.get("reason")
    return ApprovalAnswer(
        approval.key("id").filled_text(MAX_ID_LENGTH),
        approval.key("approved").flag(),
        reason.text() if reason else None,
    )


def _invocation(invocation: Value, draft: _Draft) -> None:
    """A tool call of AI SDK 4."""
    state = invocation.key("state").one_of("partial-call", "call", "result")
    if state == "partial-call":
        return
    call_id = invocation.key("toolCallId").filled_text(MAX_ID_LENGTH)
    args = invocation.get("args")
    draft.called(call_id, invocation.key("toolName").filled_text(MAX_ID_LENGTH), args.json() if args else {})
    if state == "result":
        draft.answered(call_id, invocation.key("result").json())


def _openai_content(content: Value, draft: _Draft) -> None:
    if isinstance(content.raw, str):
        _say(content, draft)
        return
    for part in content.items():
        if part.key("type").one_of("text", "image_url") == "text":
            _say(part.key("text"), draft)
        else:
            draft.parts.append(FilePart(_file_url(part.key("image_url").key("url")), "image/*"))


def _openai_call(call: Value, draft: _Draft) -> None:
    function = call.key("function")
    arguments = function.key("arguments")
    args = Value(decode_json(arguments.text(), arguments.pointer), arguments.pointer, arguments.budget).json()
    draft.called(call.key("id").filled_text(MAX_ID_LENGTH), function.key("name").filled_text(MAX_ID_LENGTH), args)


def _tool_answer(item: Value, draft: _Draft) -> None:
    """OpenAI's role `tool`: its content, a string or text parts, is the result of an earlier call."""
    call_id = item.key("tool_call_id").filled_text(MAX_ID_LENGTH)
    content = item.key("content")
    if isinstance(content.raw, str):
        result = content.text()
    else:
        result = "".join(_text_part(part) for part in content.items())
    draft.answered(call_id, result)


def _text_part(part: Value) -> str:
    part.key("type").one_of("text")
    return part.key("text").text()
