"""OpenAI's chat completions, as bytes: a `ModelRequest` to a request body, the stream's events to chunks. Pure.

Typed structs decode an event in well under a microsecond; whatever they do not name is skipped unread.
"""

from typing import Literal

import msgspec

from streams.events import ReasoningDelta, TextDelta, Usage
from streams.messages import ChatMessage, FilePart, TextPart, ToolCallPart, ToolResultPart
from streams.providers.base import Chunk, ModelFinished, ModelRequest

MAX_TOKENS = "max_tokens"
MAX_COMPLETION_TOKENS = "max_completion_tokens"

MAX_REPORTED_TOKENS = 2**31 - 1
"""A count beyond this is no report but a mistake, and would not fit the ledger's integers once priced."""

_DONE = b"[DONE]"

_FinishReason = Literal["stop", "length", "tool-calls", "content-filter", "other"]
_FINISH_REASONS: dict[str, _FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
    "content_filter": "content-filter",
}

_encode = msgspec.json.encode


_ABSENT = msgspec.Raw()
_NOTHING = (b"", b"null")


class StreamFault(Exception):
    """The stream said something that ends the answer; its text is for the log alone."""


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    finish_reason: str | None = None
    index: int = 0


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: int | float | None = None


class _CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | float | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | float | None = None
    completion_tokens: int | float | None = None
    total_tokens: int | float | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Event(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    object: str | None = None


_decode = msgspec.json.Decoder(_Event).decode
_decode_usage = msgspec.json.Decoder(_Usage).decode


class AnswerReader:
    """Turns the events of one streamed answer into chunks, and knows whether the answer is whole."""

    def __init__(self) -> None:
        self.done = False
        """`[DONE]` was read: nothing after it belongs to the answer."""
        self.spoken = False
        """Something of the answer was read, so that asking again would say it twice."""
        self._finish_reason: _FinishReason | None = None
        self._usage: Usage | None = None

    @property
    def whole(self) -> bool:
        """The stream may end here: the model said why it stopped, or the provider said it is done."""
        return self.done or self._finish_reason is not None

    def read(self, data: bytes, chunks: list[Chunk]) -> None:
        """Appends what the event says to `chunks`. Raises `StreamFault`; `chunks` then holds what came before."""
        if self.done:
            return
        if data == _DONE:
            self.done = True
            return
        try:
            event = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StreamFault(f"an event that cannot be read: {error}") from None
        if (said := bytes(event.error)) not in _NOTHING:
            raise StreamFault(f"an error in the stream: {said.decode('utf-8', 'replace')}")
        if event.object == "error":
            raise StreamFault(f"an error in the stream: {data.decode('utf-8', 'replace')}")
        if (reported := bytes(event.usage)) not in _NOTHING:
            self._usage = _usage(reported) or self._usage
        for choice in event.choices or ():
            if choice.index == 0:
                self._read_choice(choice, chunks)

    def end(self) -> list[Chunk]:
        """The last chunks of a whole answer: its usage if the provider reported any, and why it stopped."""
        finished = ModelFinished(self._finish_reason or "other")
        return [finished] if self._usage is None else [self._usage, finished]

    def _read_choice(self, choice: _Choice, chunks: list[Chunk]) -> None:
        delta = choice.delta
        if delta is not None:
            # Some gateways send the same thought under both names.
            if thought := delta.reasoning_content or delta.reasoning:
                self.spoken = True
                chunks.append(ReasoningDelta(thought))
            if text := delta.content or delta.refusal:
                self.spoken = True
                chunks.append(TextDelta(text))
        if choice.finish_reason == "error":
            raise StreamFault("the model stopped for an error")
        if choice.finish_reason:
            self.spoken = True
            self._finish_reason = _FINISH_REASONS.get(choice.finish_reason, "other")


def _usage(data: bytes) -> Usage | None:
    """The provider's report, or None if it is none: it cannot be read, or a count is missing or absurd. A bad report
    must not spoil a good answer; the caller then counts for itself."""
    try:
        reported = _decode_usage(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    prompt, completion = _count(reported.prompt_tokens), _count(reported.completion_tokens)
    if prompt is None or completion is None:
        return None
    details, completion_details = reported.prompt_tokens_details, reported.completion_tokens_details
    cached = (_count(details.cached_tokens) if details else None) or 0
    reasoning = (_count(completion_details.reasoning_tokens) if completion_details else None) or 0
    if reasoning and _count(reported.total_tokens) == prompt + completion + reasoning:
        completion += reasoning  # some count reasoning beside the completion; we count it as part of the output
    return Usage(
        input_tokens=prompt,
        output_tokens=completion,
        reasoning_tokens=min(reasoning, completion),
        cached_input_tokens=min(cached, prompt),
    )


def _count(value: float | None) -> int | None:
    """A whole number of tokens, or None for anything else."""
    if value is None or not 0 <= value <= MAX_REPORTED_TOKENS or value != int(value):
        return None
    return int(value)


def request_body(request: ModelRequest, output_bound: str) -> bytes:
    """The JSON that asks for a streamed answer with usage; `output_bound` names the field that bounds its tokens."""
    body: dict[str, object] = {
        "model": request.model,
        "messages": _messages(request),
        "stream": True,
        "stream_options": {"include_usage": True},
        output_bound: request.max_output_tokens,
    }
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.top_p is not None:
        body["top_p"] = request.top_p
    if request.stop_sequences:
        body["stop"] = list(request.stop_sequences)
    return _encode(body)


def _messages(request: ModelRequest) -> list[dict[str, object]]:
    out: list[dict[str, object]] = []
    if request.system:
        out.append({"role": "system", "content": request.system})
    for message in request.messages:
        if message.role in ("user", "system"):
            out.append({"role": message.role, "content": _content(message)})
        else:
            out.extend(_with_tools(message))
    return out


def _content(message: ChatMessage) -> object:
    """Plain text where there is only text, which every server takes; parts where there are files."""
    if not any(isinstance(part, FilePart) for part in message.parts):
        return message.text
    content: list[object] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, FilePart):
            content.append(_file(part))
    return content


def _file(part: FilePart) -> dict[str, object]:
    """An image by its URL; another file by its content if the URL holds it, else as words, for OpenAI fetches none."""
    if part.is_image:
        return {"type": "image_url", "image_url": {"url": part.url}}
    if part.url.startswith("data:"):
        return {"type": "file", "file": {"filename": part.filename or "file", "file_data": part.url}}
    return {"type": "text", "text": _mention(part)}


def _mention(part: FilePart) -> str:
    return f"[file {part.filename or part.media_type or 'without a name'}: {part.url}]"


def _with_tools(message: ChatMessage) -> list[dict[str, object]]:
    """An assistant's or tool's message. Calls and their results may stand in one message of ours; OpenAI wants each
    result as a message after the one with the calls."""
    out: list[dict[str, object]] = []
    texts: list[str] = []
    calls: list[object] = []

    def flush() -> None:
        if not texts and not calls:
            return
        spoken: dict[str, object] = {"role": "assistant", "content": "\n".join(texts) or None}
        if calls:
            spoken["tool_calls"] = list(calls)
        out.append(spoken)
        texts.clear()
        calls.clear()

    for part in message.parts:
        if isinstance(part, TextPart):
            texts.append(part.text)
        elif isinstance(part, FilePart):
            texts.append("[file]" if part.url.startswith("data:") else _mention(part))
        elif isinstance(part, ToolCallPart):
            function = {"name": part.tool_name, "arguments": _encode(part.args).decode()}
            calls.append({"id": part.tool_call_id, "type": "function", "function": function})
        else:
            flush()
            out.append({"role": "tool", "tool_call_id": part.tool_call_id, "content": _result(part)})
    flush()
    return out


def _result(part: ToolResultPart) -> str:
    return part.result if isinstance(part.result, str) else _encode(part.result).decode()
