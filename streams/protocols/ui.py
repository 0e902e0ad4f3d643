"""`ui`, the UI message stream v1 of the AI SDK (`useChat` of version 5 and later). Pure; one encoder per connection.

Strict releases of the client end the whole stream at a key or type they do not know, so only what all of them accept is
sent: optional means absent, and what is ours travels in transient `data-*` chunks or in `messageMetadata`. The log is
always replayed from its first event, hence block ids are the same for every reader.
"""

from collections.abc import Mapping, Sequence

from billing.money import usd
from streams.events import (
    Aborted,
    Entry,
    Event,
    Failed,
    Finished,
    FinishReason,
    Notice,
    ReasoningDelta,
    Started,
    StepFinished,
    StepStarted,
    TextDelta,
)
from streams.protocols import sse
from streams.protocols.plain import usage_fields

DONE = b"data: [DONE]\n\n"

FINISH_REASONS: dict[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "tool-calls": "tool-calls",
    "approval": "tool-calls",
    "content-filter": "content-filter",
    "error": "error",
    "aborted": "other",
    "other": "other",
}

_STEP_STARTED = sse.frame({"type": "start-step"})
_STEP_FINISHED = sse.frame({"type": "finish-step"})


class UiEncoder:
    """Holds `Failed` and `Aborted` back until `Finished` brings the cost: the client stops listening at its chunk for
    them, so usage and cost must have gone before."""

    name = "ui"
    content_type = sse.CONTENT_TYPE
    headers: Mapping[str, str] = {"X-Stream-Dialect": "ui", "x-vercel-ai-ui-message-stream": "v1"}
    ping = sse.PING

    def __init__(self) -> None:
        self._started: Started | None = None
        self._in_step = False
        self._block: type[TextDelta] | type[ReasoningDelta] | None = None
        self._blocks = 0
        self._before_delta = b""
        self._block_end = b""
        self._ending: Failed | Aborted | None = None

    def encode(self, entries: Sequence[Entry]) -> bytes:
        """The bytes that these next entries of the log put on the wire; empty if they have no chunk (yet)."""
        chunks: list[bytes] = []
        for _, event in entries:
            if type(event) is TextDelta or type(event) is ReasoningDelta:  # the hot path
                if type(event) is not self._block:
                    chunks.append(self._close_block())
                    chunks.append(self._open_block(type(event)))
                chunks.append(b"%b%b}\n\n" % (self._before_delta, sse.to_json(event.text)))
            else:
                self._other(event, chunks)
        return b"".join(chunks)

    def _other(self, event: Event, chunks: list[bytes]) -> None:
        match event:
            case Started():
                self._started = event
                chunks.append(sse.frame({"type": "start", "messageId": event.message_id}))
            case StepStarted():
                self._in_step = True
                chunks.append(_STEP_STARTED)
            case StepFinished():
                chunks.append(self._close_step())
            case Notice():
                chunks.append(_transient("data-notice", {"code": event.code, "message": event.message}))
            case Failed() | Aborted():
                chunks.append(self._close_step())
                self._ending = event
            case Finished():
                chunks.append(self._close_step())
                chunks.append(self._end(event))
                chunks.append(DONE)

    def _end(self, event: Finished) -> bytes:
        """The one terminator, with what must go before it."""
        metadata = self._metadata(event)
        if self._ending is None:
            return sse.frame(
                {"type": "finish", "finishReason": FINISH_REASONS[event.finish_reason], "messageMetadata": metadata}
            )
        # Without a `start` there is no message, and metadata would make an empty one appear.
        chunks = b"" if self._started is None else sse.frame({"type": "message-metadata", "messageMetadata": metadata})
        if isinstance(self._ending, Aborted):
            return chunks + sse.frame({"type": "abort"})
        named = {"code": self._ending.code, "requestId": self._ending.request_id}
        return b"%b%b%b" % (
            chunks,
            _transient("data-error", self._ending.details | named),
            sse.frame({"type": "error", "errorText": self._ending.message}),
        )

    def _metadata(self, event: Finished) -> dict[str, object]:
        metadata: dict[str, object] = {"usage": usage_fields(event.usage), "cost": usd(event.cost_nano)}
        if self._started is not None:
            metadata |= {"conversationId": self._started.conversation_id, "turnId": self._started.turn_id}
        return metadata

    def _open_block(self, kind: type[TextDelta] | type[ReasoningDelta]) -> bytes:
        name = "text" if kind is TextDelta else "reasoning"
        self._block = kind
        self._blocks += 1
        block_id = f"{name}-{self._blocks}"
        self._before_delta = b'data: {"type":"%b-delta","id":"%b","delta":' % (name.encode(), block_id.encode())
        self._block_end = sse.frame({"type": f"{name}-end", "id": block_id})
        return sse.frame({"type": f"{name}-start", "id": block_id})

    def _close_block(self) -> bytes:
        if self._block is None:
            return b""
        self._block = None
        return self._block_end

    def _close_step(self) -> bytes:
        if not self._in_step:
            return b""
        self._in_step = False
        return self._close_block() + _STEP_FINISHED


def _transient(kind: str, data: dict[str, object]) -> bytes:
    """A chunk that reaches `onData` only: it is neither kept in the message nor sent back."""
    return sse.frame({"type": kind, "data": data, "transient": True})
