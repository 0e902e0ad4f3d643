"""A TCP proxy in front of PostgreSQL that can stand still and cut connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict


class Proxy:
    """Passes bytes both ways while `open` is set."""

    def __init__(self, target: str) -> None:
        self._target = {key: str(value) for key, value in conninfo_to_dict(target).items()}
        self.open = asyncio.Event()
        self.open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    @property
    def url(self) -> str:
        """The database behind the proxy."""
        user, password = (quote(self._target.get(key, "")) for key in ("user", "password"))
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{self._target['dbname']}"

    def pause(self) -> None:
        """From now on nothing passes, as behind a router that drops packets."""
        self.open.clear()

    def resume(self) -> None:
        self.open.set()

    def cut(self) -> None:
        """Reset every connection; new ones are taken and hang while the proxy stands still."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._target["host"], self._target.get("port", "5432")
        try:
            if host.startswith("/"):
                away = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
            else:
                away = await asyncio.open_connection(host, int(port))
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            return
        self._writers |= {writer, away[1]}
        try:
            await asyncio.gather(self._pass(reader, away[1]), self._pass(away[0], writer))
        finally:
            for each in (writer, away[1]):
                each.transport.abort()
                self._writers.discard(each)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self.open.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@contextlib.asynccontextmanager
async def database_proxy(target: str) -> AsyncIterator[Proxy]:
    """A proxy to the database at that URL, in this event loop."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        proxy.resume()
        server.close()
        proxy.cut()
