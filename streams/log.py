"""The log of one turn: events in order, for any number of readers, each at its own pace.

Deltas are the bulk of a log: neighbouring ones of a kind are kept as joined UTF-8 with a byte of length each, which
takes a tenth of the objects' memory. One longer than a byte can tell is kept as several. The turn's output cap bounds
the whole.
"""

import asyncio
from array import array
from bisect import bisect_right
from collections.abc import Iterator

from streams.events import Entry, Event, Finished, ReasoningDelta, TextDelta
from streams.grammar import Grammar

LONGEST = 255
STRIDE = 64
BATCH = 512
"""The most entries a reader is given at once, so that one who is far behind costs little memory."""


class _Run:
    """Neighbouring deltas of one kind: a byte of length for each, and a place to count from for every STRIDE."""

    __slots__ = ("kind", "lengths", "starts", "text")

    def __init__(self, kind: type[TextDelta] | type[ReasoningDelta]) -> None:
        self.kind = kind
        self.text = bytearray()
        self.lengths = bytearray()
        self.starts = array("I")

    def append(self, piece: bytes) -> None:
        if len(self.lengths) % STRIDE == 0:
            self.starts.append(len(self.text))
        self.text += piece
        self.lengths.append(len(piece))

    def between(self, begin: int, end: int) -> Iterator[TextDelta | ReasoningDelta]:
        """The deltas from position `begin` up to `end`, which is left out."""
        if begin >= end:
            return
        stride = begin - begin % STRIDE
        start = self.starts[begin // STRIDE] + sum(self.lengths[stride:begin])
        for length in self.lengths[begin:end]:
            yield self.kind(self.text[start : start + length].decode())
            start += length


def _pieces(text: str) -> Iterator[bytes]:
    """The text as UTF-8, in pieces of at most LONGEST bytes, cut between characters."""
    data = text.encode("utf-8", "replace")
    while len(data) > LONGEST:
        cut = LONGEST
        while data[cut] & 0xC0 == 0x80:
            cut -= 1
        yield data[:cut]
        data = data[cut:]
    yield data


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
        if isinstance(event, TextDelta | ReasoningDelta):
            for piece in _pieces(event.text):
                self._append_delta(type(event), piece)
        else:
            self.length += 1
            self._add(event)
            self.closed = isinstance(event, Finished)
        self.wake()

    def _append_delta(self, kind: type[TextDelta] | type[ReasoningDelta], piece: bytes) -> None:
        self.length += 1
        last = self._parts[-1] if self._parts else None
        if not isinstance(last, _Run) or last.kind is not kind:
            last = _Run(kind)
            self._add(last)
        last.append(piece)

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
                end = min(len(part.lengths), begin + most - len(entries))
                entries.extend(enumerate(part.between(begin, end), first + begin))
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
