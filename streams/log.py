"""The log of one turn: events in order, for any number of readers, each at its own pace.

Deltas are the bulk of a log: neighbouring ones of a kind are kept as joined UTF-8 with one offset each, which takes a
tenth of the objects' memory. The turn's output cap bounds the whole.
"""

import asyncio
from array import array
from bisect import bisect_right

from streams.events import Entry, Event, Finished, ReasoningDelta, TextDelta
from streams.grammar import Grammar

BATCH = 512
"""The most entries a reader is given at once, so that one who is far behind costs little memory."""


class _Run:
    """Neighbouring deltas of one kind."""

    __slots__ = ("ends", "kind", "text")

    def __init__(self, kind: type[TextDelta] | type[ReasoningDelta]) -> None:
        self.kind = kind
        self.text = bytearray()
        self.ends = array("I")

    def append(self, text: str) -> None:
        self.text += text.encode("utf-8", "replace")
        self.ends.append(len(self.text))

    def __getitem__(self, position: int) -> TextDelta | ReasoningDelta:
        start = self.ends[position - 1] if position else 0
        return self.kind(self.text[start : self.ends[position]].decode())


class Log:
    """Append, read, wait. `length` is the newest sequence number; the first is 1."""

    __slots__ = ("_firsts", "_grammar", "_parts", "_waiters", "closed", "length")

    def __init__(self) -> None:
        self._parts: list[_Run | Event] = []
        self._firsts: list[int] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._grammar = Grammar()
        self.length = 0
        self.closed = False

    def append(self, event: Event) -> None:
        """Add an event and wake whoever waits. Raises `grammar.OutOfOrder` where it may not follow."""
        self._grammar.check(event)
        self.length += 1
        if isinstance(event, TextDelta | ReasoningDelta):
            last = self._parts[-1] if self._parts else None
            if not isinstance(last, _Run) or last.kind is not type(event):
                last = _Run(type(event))
                self._add(last)
            last.append(event.text)
        else:
            self._add(event)
            self.closed = isinstance(event, Finished)
        self.wake()

    def _add(self, part: "_Run | Event") -> None:
        self._parts.append(part)
        self._firsts.append(self.length)

    def wake(self) -> None:
        """Let every waiting reader look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def since(self, after: int, most: int = BATCH) -> list[Entry]:
        """At most `most` entries that follow sequence number `after`."""
        entries: list[Entry] = []
        position = max(0, bisect_right(self._firsts, after + 1) - 1)
        for first, part in zip(self._firsts[position:], self._parts[position:], strict=True):
            if isinstance(part, _Run):
                begin = max(0, after + 1 - first)
                end = min(len(part.ends), begin + most - len(entries))
                entries.extend((first + index, part[index]) for index in range(begin, end))
            elif first > after:
                entries.append((first, part))
            if len(entries) >= most:
                break
        return entries

    async def beyond(self, after: int, timeout_s: float) -> bool:
        """Wait until there is something after `after`; False when `timeout_s` passed without."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while self.length <= after and not self.closed:
            left = deadline - loop.time()
            if left <= 0:
                return False
            waiter = loop.create_future()
            self._waiters.append(waiter)
            timer = loop.call_later(left, _expire, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return True

    def text(self) -> str:
        """The whole answer."""
        return "".join(part.text.decode() for part in self._parts if isinstance(part, _Run) and part.kind is TextDelta)


def _expire(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
