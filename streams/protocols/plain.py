"""`plain`, our documented dialect: each event is `id: SEQ` and `data: {"type": …}`. Pure; one encoder per connection.

An id promises that everything up to it has been sent, so that a client may go on after it: nothing lost. Where a text
block is held back to be sent whole, a notice that comes meanwhile carries the id from before the block.
"""

from collections.abc import Mapping, Sequence

from billing.money import usd
from streams.events import (
    Entry,
    Event,
    Failed,
    Finished,
    Notice,
    ReasoningDelta,
    Started,
    TextDelta,
    Usage,
)
from streams.protocols import sse


class PlainEncoder:
    """`deltas=False` sends each text block whole, as `text`. `replay=True` does so for the blocks that are already
    over within the first batch, as a reader that re-attaches from the beginning wants it."""

    name = "plain"
    content_type = sse.CONTENT_TYPE
    headers: Mapping[str, str] = {"X-Stream-Dialect": "plain"}
    ping = sse.PING

    def __init__(self, *, deltas: bool = True, replay: bool = False) -> None:
        self._deltas = deltas
        self._replay = replay
        self._held: list[str] = []
        self._promised = 0
        self._seen = 0

    def encode(self, entries: Sequence[Entry]) -> bytes:
        """The bytes that these next entries of the log put on the wire; empty if they have no frame (yet)."""
        if not self._deltas:
            return self._whole(entries)
        if self._replay and entries:
            self._replay = False
            over = _start_of_open_block(entries)
            return self._whole(entries[:over]) + self._as_they_come(entries[over:])
        return self._as_they_come(entries)

    def _as_they_come(self, entries: Sequence[Entry]) -> bytes:
        frames = []
        for seq, event in entries:
            if type(event) is TextDelta:  # the hot path
                frames.append(
                    b'id: %d\ndata: {"type":"text-delta","textDelta":%b}\n\n' % (seq, sse.to_json(event.text))
                )
            elif (data := _data(event)) is not None:
                frames.append(sse.frame_with_id(seq, data))
        return b"".join(frames)

    def _whole(self, entries: Sequence[Entry]) -> bytes:
        frames = []
        for seq, event in entries:
            if type(event) is TextDelta:
                if not self._held:
                    self._promised = seq - 1
                self._held.append(event.text)
            elif type(event) is Notice and self._held:
                frames.append(sse.frame_with_id(self._promised, _data(event)))
            else:
                frames.append(self._flush())
                if (data := _data(event)) is not None:
                    frames.append(sse.frame_with_id(seq, data))
            self._seen = seq
        return b"".join(frames)

    def _flush(self) -> bytes:
        if not self._held:
            return b""
        text, self._held = "".join(self._held), []
        return sse.frame_with_id(self._seen, {"type": "text", "text": text})


def usage_fields(usage: Usage) -> dict[str, object]:
    """Token counts under the names every streaming dialect uses."""
    return {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "reasoningTokens": usage.reasoning_tokens,
        "cachedInputTokens": usage.cached_input_tokens,
        "estimated": usage.estimated,
    }


def _data(event: Event) -> dict[str, object] | None:
    """The frame's JSON, or None for an event that has no frame in this dialect."""
    match event:
        case Started():
            return {
                "type": "start",
                "conversationId": event.conversation_id,
                "turnId": event.turn_id,
                "messageId": event.message_id,
                "model": event.model,
            }
        case ReasoningDelta():
            return {"type": "reasoning-delta", "textDelta": event.text}
        case Notice():
            return {"type": "notice", "code": event.code, "message": event.message}
        case Failed():
            named = {"type": "error", "error": event.message, "code": event.code, "requestId": event.request_id}
            return named | {key: value for key, value in event.details.items() if key not in named}
        case Finished():
            return {
                "type": "done",
                "finishReason": event.finish_reason,
                "usage": usage_fields(event.usage),
                "cost": usd(event.cost_nano),
            }
    return None


def _start_of_open_block(entries: Sequence[Entry]) -> int:
    """The index of the first delta of the text block that is not over yet, or the number of entries."""
    start = len(entries)
    for index in range(len(entries) - 1, -1, -1):
        event = entries[index][1]
        if type(event) is TextDelta:
            start = index
        elif type(event) is not Notice:
            break
    return start
