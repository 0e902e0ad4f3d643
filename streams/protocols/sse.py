"""Server-sent events: how a frame is written. JSON escapes its line breaks, so one `data:` line is enough."""

import msgspec

CONTENT_TYPE = "text/event-stream; charset=utf-8"
PING = b": ping\n\n"
"""A comment, which every client skips: it keeps proxies from closing a quiet connection."""

_encode = msgspec.json.Encoder().encode


def to_json(value: object) -> bytes:
    """Compact JSON in UTF-8. Half a surrogate pair, which UTF-8 cannot hold, becomes U+FFFD: an answer that a provider
    cut in the middle of a character must not end its stream. Raises TypeError for what JSON has no word for."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return _encode(_all_printable(value))


def frame(data: object) -> bytes:
    """`data: JSON` and the blank line that ends the event."""
    return b"data: %b\n\n" % to_json(data)


def frame_with_id(seq: int, data: object) -> bytes:
    """The same after an `id:` line, which the client sends back as `Last-Event-ID`."""
    return b"id: %d\ndata: %b\n\n" % (seq, to_json(data))


def printable(text: str) -> str:
    """The text as UTF-8 can carry it: halves of a surrogate pair that meet are one character, others are U+FFFD."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _all_printable(value: object) -> object:
    match value:
        case str():
            return printable(value)
        case dict():
            return {_all_printable(key): _all_printable(item) for key, item in value.items()}
        case list() | tuple():
            return [_all_printable(item) for item in value]
    return value
