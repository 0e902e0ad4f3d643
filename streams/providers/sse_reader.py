"""Server-sent events out of raw bytes, cut anywhere. Pure.

Follows the event stream format of the HTML standard: lines end with LF, CRLF or CR, a comment starts with a colon,
`data` lines of one event are joined by a newline, a blank line ends the event. Fields other than `data` mean nothing
to a model's answer and are dropped.
"""

MAX_EVENT_BYTES = 1024 * 1024

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """A line or an event is longer than the reader's bound."""


class SseReader:
    """Takes bytes as they come and gives the `data` of each event that they complete."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._line = bytearray()
        """The line that has not ended yet."""
        self._data: list[bytes] = []
        self._data_bytes = 0
        """The data lines of the event that has not ended yet, and their bytes."""
        self._skip_line_feed = False
        """The last byte was a CR, so that a line feed at the start of the next bytes belongs to it."""
        self._at_start = True

    def feed(self, received: bytes) -> list[bytes]:
        """The data of the events that `received` completes. Raises `EventTooLarge`."""
        if self._skip_line_feed and received:
            self._skip_line_feed = False
            received = received.removeprefix(b"\n")
        if b"\r" in received:
            self._skip_line_feed = received.endswith(b"\r")
            received = received.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = received.split(b"\n")
        if len(lines) == 1:
            self._hold(received)
            return []
        if self._line:
            self._hold(lines[0])
            lines[0] = bytes(self._line)
            self._line.clear()
        rest = lines.pop()
        events: list[bytes] = []
        for line in lines:
            if self._at_start:
                self._at_start = False
                line = line.removeprefix(_BYTE_ORDER_MARK)
            if line:
                self._take(line)
            elif self._data:
                events.append(self._complete())
        if rest:
            self._hold(rest)
        return events

    def finish(self) -> list[bytes]:
        """The data of an event that the end of the stream leaves without its blank line.

        The standard drops such an event; some servers leave the blank line after their last one out, and what is
        lost otherwise is the answer's end.
        """
        if self._line:
            line = bytes(self._line)
            self._line.clear()
            self._take(line.removeprefix(_BYTE_ORDER_MARK) if self._at_start else line)
        return [self._complete()] if self._data else []

    def _hold(self, piece: bytes) -> None:
        if len(self._line) + len(piece) > self._max_event_bytes:
            raise EventTooLarge(f"a line is longer than {self._max_event_bytes} bytes")
        self._line += piece

    def _take(self, line: bytes) -> None:
        """One line that is not blank."""
        if line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
        elif line == b"data":
            value = b""
        else:
            return  # a comment, or a field without meaning here
        self._data_bytes += len(value) + 1
        if self._data_bytes > self._max_event_bytes:
            raise EventTooLarge(f"an event is longer than {self._max_event_bytes} bytes")
        self._data.append(value)

    def _complete(self) -> bytes:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data = []
        self._data_bytes = 0
        return data
