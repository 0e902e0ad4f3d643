"""A client that talks to streams over HTTP and reads them event by event."""

import io
import json
from collections.abc import AsyncIterator
from typing import Any, Self

import aiohttp

from tests.streams import ui_checker

Event = dict[str, Any]


class Reply:
    """A response whose body is read as it comes. Leaving the `async with` closes the connection."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = response.headers
        self.received = bytearray()
        self._taken = 0
        self._whole = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Close the socket, as a closed browser does."""
        self._response.close()

    async def body(self) -> bytes:
        """All that was sent, to the end."""
        if not self._whole:
            self.received += await self._response.content.read()
            self._whole = True
        return bytes(self.received)

    async def json(self) -> Any:
        return json.loads(await self.body())

    async def events(self) -> AsyncIterator[Event]:
        """The JSON of each SSE event, with its `id:` as `seq` where it has one. Goes on where the last call stopped."""
        while True:
            while (end := self.received.find(b"\n\n", self._taken)) >= 0:
                block = self.received[self._taken : end].decode()
                self._taken = end + 2
                if event := _event(block):
                    yield event
            piece = await self._response.content.readany()
            if not piece:
                self._whole = True
                return
            self.received += piece

    async def all(self) -> list[Event]:
        """Every event from here to the end."""
        return [event async for event in self.events()]

    async def until(self, kind: str, count: int = 1) -> list[Event]:
        """The next events up to the `count`th of that kind. Raises AssertionError where the stream ends before."""
        seen = []
        async for event in self.events():
            seen.append(event)
            count -= event["type"] == kind
            if not count:
                return seen
        raise AssertionError(f"the stream ended without {kind}: {seen}")


def _event(block: str) -> Event | None:
    fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
    if fields.get("data") in (None, "[DONE]"):
        return None
    event: Event = json.loads(fields["data"])
    return event | {"seq": int(fields["id"])} if "id" in fields else event


class Client:
    """Calls one server."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """`body` is text, bytes or a JSON value; header names have underscores for dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, str | bytes):
            body = json.dumps(body)
            named.setdefault("Content-Type", "application/json")
        if body is not None:
            named.setdefault("Content-Type", "text/plain")
            body = io.BytesIO(body.encode() if isinstance(body, str) else body)
        return Reply(await self._session.request(method, self.url + path, data=body, headers=named))

    async def post(self, path: str, body: Any, **headers: str) -> Reply:
        return await self.call("POST", path, body, **headers)

    async def get(self, path: str, **headers: str) -> Reply:
        return await self.call("GET", path, **headers)


def reread(body: bytes) -> list[Event]:
    """The events of a stream that has been read whole."""
    return [event for block in body.decode().split("\n\n") if (event := _event(block))]


def text_of(events: list[Event]) -> str:
    """What a plain stream said."""
    return "".join(
        event.get("textDelta", event.get("text", "")) for event in events if event["type"] in ("text-delta", "text")
    )


def kinds(events: list[Event]) -> list[str]:
    """The types of the events in order, neighbouring deltas once."""
    found: list[str] = []
    for event in events:
        if not (event["type"] == "text-delta" and found[-1:] == ["text-delta"]):
            found.append(event["type"])
    return found


def checked_ui(body: bytes) -> list[Event]:
    """The chunks of a UI message stream that breaks no rule."""
    return ui_checker.check(body)


def ui_body(text: str, chat_id: str = "chat-of-this-very-test") -> dict[str, Any]:
    """What `useChat` sends."""
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": text}]}
    return {"id": chat_id, "trigger": "submit-message", "messages": [message]}
