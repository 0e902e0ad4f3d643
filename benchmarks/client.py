"""The load: HTTP/1.1 clients as bare protocols, so that what is measured is the server."""

import asyncio
import contextlib
import json
from typing import cast

_ACCEPTED = b"HTTP/1.1 200 "
_TOKEN = b'"text-delta"'
_CHUNKED_END = b"\r\n0\r\n\r\n"
_DONE = b'"finishReason":"stop"'


class BadAnswer(Exception):
    """The server did not answer a whole stream of the tokens asked for; the message holds the end of what it said."""


class Client(asyncio.Protocol):
    """One connection that asks for one stream after another and counts the tokens that arrive."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.tokens = 0
        """Tokens of the present answer."""
        self.first: asyncio.Future[None]
        """The first token has come."""
        self.over: asyncio.Future[None]
        """The answer has ended; BadAnswer where it did not end well."""
        self._tail = b""
        self._accepted = False
        self._loop = asyncio.get_running_loop()

    def ask(self, request: bytes) -> "asyncio.Future[None]":
        """Sends a request; returns `over`."""
        self.tokens, self._tail, self._accepted = 0, b"", False
        self.first, self.over = self._loop.create_future(), self._loop.create_future()
        self.transport.write(request)
        return self.over

    def close(self) -> None:
        """Leaves at once."""
        self.over.cancel()
        self.first.cancel()
        self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are none by class, only by behaviour

    def data_received(self, data: bytes) -> None:
        if not self._accepted:
            begun = self._tail + data
            self._accepted = begun.startswith(_ACCEPTED)
            if not self._accepted and len(begun) >= len(_ACCEPTED):
                self._end(BadAnswer(begun[:600].decode(errors="replace")))
                return
        # What was cut between two reads is counted once: a tail too short for a token goes before the next read.
        self.tokens += (self._tail[1 - len(_TOKEN) :] + data).count(_TOKEN)
        self._tail = (self._tail + data)[-400:]
        if self.tokens and not self.first.done():
            self.first.set_result(None)
        if self._tail.endswith(_CHUNKED_END):
            self._end(None if _DONE in self._tail else BadAnswer(self._tail.decode(errors="replace")))

    def connection_lost(self, exc: Exception | None) -> None:
        if hasattr(self, "over"):
            self._end(BadAnswer("the connection was closed"))

    def _end(self, problem: BadAnswer | None) -> None:
        for future in (self.first, self.over):
            if future.done():
                continue
            if problem is None:
                future.set_result(None)
            else:
                future.set_exception(problem)
                future.exception()  # whoever waits for the other one hears of it there


def request(port: int, path: str, message: str) -> bytes:
    """The bytes that ask an agent something."""
    body = json.dumps({"message": message}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def connect(port: int) -> Client:
    """A client of the server on `port` of this machine."""
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", port)
    return client


async def opens(port: int, ask: bytes, *, clients: int, seconds: float) -> float:
    """Short answers per second, `clients` at a time on connections that are kept. Raises BadAnswer."""
    loop = asyncio.get_running_loop()
    connected = [await connect(port) for _ in range(clients)]
    begun = loop.time()

    async def keep_asking(client: Client) -> int:
        count = 0
        while loop.time() < begun + seconds:
            await client.ask(ask)
            count += 1
        return count

    done = sum(await asyncio.gather(*(keep_asking(client) for client in connected)))
    took = loop.time() - begun
    for client in connected:
        client.close()
    return done / took


async def open_all(port: int, ask: bytes, *, streams: int, ramp_s: float) -> list[Client]:
    """Opens `streams` streams, spread over `ramp_s`, and waits until each has its first token. Raises BadAnswer."""
    clients = []
    for _ in range(streams):
        clients.append(await connect(port))
        clients[-1].ask(ask)
        await asyncio.sleep(ramp_s / streams)
    await asyncio.gather(*(client.first for client in clients))
    return clients


async def until(clients: list[Client], tokens: int, seconds: float) -> None:
    """Waits until every client has so many tokens. Raises BadAnswer where that takes longer than `seconds`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while any(client.tokens < tokens for client in clients):
                await asyncio.sleep(0.05)
            return
    fewest = min(client.tokens for client in clients)
    raise BadAnswer(f"after {seconds:.0f} s a stream has {fewest} tokens, not {tokens}")
