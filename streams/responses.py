"""Answers that listen to a turn's log: a stream in some dialect, or the buffered reply."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec
from django.http import HttpResponse, StreamingHttpResponse

from agents import problems
from agents.problems import Problem
from streams.events import Entry
from streams.protocols import Encoder, buffered
from streams.turn import Turn

PING_S = 14.0
"""The longest silence on a stream; then a comment keeps proxies from closing it. Promised are 15 seconds."""

UNCACHED = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


class EventStream(StreamingHttpResponse):
    """A reader of a turn's log, from after sequence number `after`.

    The reader is attached when the response is made, so that the turn has one before the first byte is asked for; it is
    detached when the body is closed, however that comes about.
    """

    def __init__(self, turn: Turn, encoder: Encoder, *, after: int = 0) -> None:
        super().__init__(content_type=encoder.content_type, headers={**UNCACHED, **encoder.headers})
        self.headers["X-Conversation-Id"] = turn.conversation_id
        self._turn = turn
        self._encoder = encoder
        self._after = after
        self._attached = True
        turn.attach()

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        return self._frames()

    async def _frames(self) -> AsyncGenerator[bytes, None]:
        log, after = self._turn.log, self._after
        clock = asyncio.get_running_loop().time
        quiet_since = clock()
        try:
            while True:
                entries = log.since(after)
                frames = b""
                if entries:
                    after = entries[-1][0]
                    frames = self._encoder.encode(entries)
                elif log.closed:
                    return
                else:
                    await log.beyond(after, max(0.0, quiet_since + PING_S - clock()))
                if not frames and clock() >= quiet_since + PING_S:
                    frames = self._encoder.ping
                if frames:
                    yield frames
                    quiet_since = clock()
        finally:
            self.detach()

    def close(self) -> None:
        """Called by the handler when the response is over, sent or not."""
        self.detach()

    def detach(self) -> None:
        """The reader is gone. Safe to call again."""
        if self._attached:
            self._attached = False
            self._turn.detach()


async def buffer(turn: Turn, *, instance: str) -> HttpResponse:
    """The whole answer in one JSON reply, when the turn is over; the reader counts as one of the turn's."""
    turn.attach()
    try:
        entries: list[Entry] = []
        while not (turn.log.closed and len(entries) == turn.log.length):
            await turn.log.beyond(len(entries), PING_S)
            entries += turn.log.since(len(entries))
    finally:
        turn.detach()
    reply = buffered.reply(entries)
    headers = {**UNCACHED, "X-Conversation-Id": turn.conversation_id, "X-Stream-Dialect": "json"}
    if reply.refusal is not None:
        failed = reply.refusal
        code = failed.code if failed.code in problems.CODES else "unavailable"
        problem = Problem(code, failed.message, headers=headers, extra=buffered.error_fields(failed))
        return problems.respond(problem, instance=instance, request_id=failed.request_id)
    return HttpResponse(msgspec.json.encode(reply.body), content_type="application/json", headers=headers)
