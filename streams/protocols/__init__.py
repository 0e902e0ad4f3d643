"""The dialects a reader may speak, which of them a request gets, and an encoder for each. Pure.

One encoder serves one connection: it is given the log's entries in order, in batches of any size.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from streams.events import Entry
from streams.protocols.plain import PlainEncoder
from streams.protocols.ui import UiEncoder

KNOWN = ("plain", "ui", "ui5", "v4", "text", "json")
SERVED = ("plain", "ui", "json")


class Encoder(Protocol):
    """Turns log entries into the bytes of one dialect. `headers` are the dialect's own response headers; `ping` is sent
    when nothing was said for a while."""

    name: str
    content_type: str
    headers: Mapping[str, str]
    ping: bytes

    def encode(self, entries: Sequence[Entry]) -> bytes: ...


class UnknownDialect(Exception):
    """The dialect asked for does not exist, or is not served yet; `name` is what was asked for."""

    def __init__(self, name: str) -> None:
        served = ", ".join(SERVED)
        why = "is not served yet" if name in KNOWN else "is not a dialect"
        super().__init__(f"{name[:40]!r} {why}; choose one of {served} by X-Stream-Dialect or ?dialect=.")
        self.name = name


def choose(header: str | None, query: str | None, accept: str | None, agent_setting: str, auto: str) -> str:
    """The dialect of a new turn, one of SERVED; the first answer wins.

    `header` is X-Stream-Dialect, `query` is ?dialect=, `accept` is the Accept header, `agent_setting` is a dialect or
    `auto`, and `auto` is what the body looks like (`Incoming.auto_dialect`). Raises UnknownDialect.
    """
    setting = None if agent_setting == "auto" else agent_setting
    return _served(_asked_for(header, query, accept) or setting or auto)


def choose_for_reattach(
    header: str | None,
    query: str | None,
    accept: str | None,
    *,
    goes_on_after: bool,
    by_query_chat_id: bool,
    began: str,
) -> str:
    """The dialect for a reader of a running or finished turn, one of SERVED.

    `goes_on_after`: the request has Last-Event-ID or ?after=. `by_query_chat_id`: it is `GET …?chatId=`, as AI SDK 4
    asks. `began` is the dialect the turn began in. Raises UnknownDialect.
    """
    if asked := _asked_for(header, query, accept):
        return _served(asked)
    if goes_on_after:
        return "plain"
    return _served("v4" if by_query_chat_id else began)


def make(name: str, *, deltas: bool = True, replay: bool = False) -> Encoder:
    """An encoder for one connection. `deltas` and `replay` are for `plain` alone: see PlainEncoder.

    `json` is no stream: see `buffered.reply`. Raises ValueError for it and for any name that is not served.
    """
    if name == "plain":
        return PlainEncoder(deltas=deltas, replay=replay)
    if name == "ui":
        return UiEncoder()
    raise ValueError(f"{name!r} is not a dialect with an encoder")


def _asked_for(header: str | None, query: str | None, accept: str | None) -> str | None:
    """What the request itself names, if anything."""
    for named in (header, query):
        if named and named.strip():
            return named.strip().lower()
    media_type = (accept or "").partition(";")[0].strip().lower()
    return "json" if media_type == "application/json" and "," not in (accept or "") else None


def _served(name: str) -> str:
    if name not in SERVED:
        raise UnknownDialect(name)
    return name
