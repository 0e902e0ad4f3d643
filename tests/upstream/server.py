"""The scripted server: HTTP/1.1 over an asyncio protocol, precise about sockets. `python -m tests.upstream.server`.

`POST {base}/chat/completions` follows its script (`tests.upstream.script`); `GET /_journal` tells what was seen and
`DELETE /_journal` forgets it.
"""

import argparse
import asyncio
import contextlib
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator
from typing import cast

import httptools
import msgspec

from tests.upstream import answering
from tests.upstream.journal import Exchange, Journal


class Connection(asyncio.Protocol):
    """One connection: takes its requests one after another and notices at once when the client leaves."""

    def __init__(self, journal: Journal, connections: set["Connection"]) -> None:
        self.journal = journal
        self.connections = connections
        self.opened_at = time.monotonic()
        journal.connections += 1
        self.number = journal.connections
        self.exchange: Exchange | None = None
        self.work: asyncio.Task[None] | None = None
        self.writable: asyncio.Future[None] | None = None
        self.transport: asyncio.Transport
        self._begin()

    def _begin(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.target = b""
        self.headers: dict[str, str] = {}
        self.body = bytearray()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are none by class, only by behaviour
        self.connections.add(self)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def eof_received(self) -> bool:
        self._client_left()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._client_left()
        self.connections.discard(self)
        if self.writable is not None and not self.writable.done():
            self.writable.set_result(None)
        if self.work is not None:
            self.work.cancel()

    def _client_left(self) -> None:
        if self.exchange is not None and self.exchange.client_closed_at is None:
            self.exchange.client_closed_at = time.monotonic()

    def pause_writing(self) -> None:
        self.writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self.writable is not None and not self.writable.done():
            self.writable.set_result(None)
        self.writable = None

    # httptools' side

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        method = self.parser.get_method().decode()
        path = self.target.decode("latin-1")
        headers, body = self.headers, bytes(self.body)
        self._begin()
        if path == "/_journal":
            self._journal(method)
        else:
            self._answer(method, path, headers, body)

    # ours

    def write(self, data: bytes) -> None:
        self.transport.write(data)
        if self.exchange is not None:
            self.exchange.bytes_sent += len(data)

    async def drained(self) -> None:
        """Waits until the socket takes more."""
        if self.writable is not None:
            await self.writable

    def respond(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """A whole JSON response."""
        given = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
        if self.exchange is not None:
            self.exchange.status = status
        self.write(answering.head(status, given) + body)

    def complete(self) -> None:
        """Marks the current exchange as answered in full: what the client does next is no longer its business."""
        if self.exchange is not None:
            self.exchange.completed_at = time.monotonic()
            self.exchange = None

    def reset(self) -> None:
        """Resets the connection (RST), as a crashed server's kernel does."""
        self.exchange = None
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _journal(self, method: str) -> None:
        if method == "DELETE":
            self.journal.clear()
        self.respond(200, msgspec.json.encode(self.journal.exchanges))

    def _answer(self, method: str, path: str, headers: dict[str, str], raw: bytes) -> None:
        try:
            body = msgspec.json.decode(raw, type=dict[str, object]) if raw else {}
        except msgspec.DecodeError:
            body = {}
        number = len(self.journal.exchanges) + 1
        now = time.monotonic()
        exchange = Exchange(number, self.number, self.opened_at, now, method, path, headers, body)
        self.journal.exchanges.append(exchange)
        self.exchange = exchange
        if method == "POST" and path.endswith("/chat/completions"):
            self.work = asyncio.get_running_loop().create_task(answering.follow(self, exchange))
        else:
            self.respond(404, answering.error_body("unknown path", "not_found"))
            self.complete()


class Upstream(msgspec.Struct):
    """A running server: where it is and what it has seen."""

    base_url: str
    journal: Journal
    connections: set[Connection]


@contextlib.asynccontextmanager
async def scripted_upstream(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Upstream]:
    """Runs the server in this event loop; `base_url` ends in `/v1`."""
    journal = Journal()
    connections: set[Connection] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(journal, connections), host, port, backlog=1024)
    try:
        bound = server.sockets[0].getsockname()[1]
        yield Upstream(f"http://{host}:{bound}/v1", journal, connections)
    finally:
        server.close()
        for connection in list(connections):
            connection.transport.abort()
        await server.wait_closed()


async def _serve(host: str, port: int) -> None:
    async with scripted_upstream(host, port) as upstream:
        sys.stdout.write(upstream.base_url + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    """Runs the server until it is interrupted; its first line of output is its base URL."""
    parser = argparse.ArgumentParser(description="A scripted OpenAI-compatible server.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    arguments = parser.parse_args()
    with contextlib.suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(arguments.host, arguments.port))


if __name__ == "__main__":
    main()
