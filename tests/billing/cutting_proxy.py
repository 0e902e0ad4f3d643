"""A proxy before PostgreSQL that cuts one connection at a chosen byte or moment of a call, and passes all others."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal

Direction = Literal["request", "answer"]


@dataclass(frozen=True)
class Cut:
    """Where the next call is cut: after `size` bytes of its request or answer, or `delay_s` after it began."""

    of: Direction | None = None
    size: int = 0
    delay_s: float = 0.0


@dataclass
class CuttingProxy:
    """Listens on a TCP port and passes on to PostgreSQL at `host` (a socket's folder or a name) and `port`."""

    host: str
    port: int
    cuts_unanswered: int = 0  # before a byte of the answer had come here
    cuts_answered: int = 0  # PostgreSQL had committed, and the door could not know
    passed: dict[Direction, int] = field(default_factory=lambda: {"request": 0, "answer": 0})

    async def __aenter__(self) -> "CuttingProxy":
        self.arm(None)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1")
        self.listens_on = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def cuts(self) -> int:
        return self.cuts_unanswered + self.cuts_answered

    def arm(self, cut: Cut | None) -> None:
        """Cut the next call that begins so; the counts of bytes begin again."""
        self._cut: Cut | None = cut
        self._answered = False
        self.passed = {"request": 0, "answer": 0}

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.host.startswith("/"):
            socket = Path(self.host) / f".s.PGSQL.{self.port}"
            upstream_reader, upstream_writer = await asyncio.open_unix_connection(str(socket))
        else:
            upstream_reader, upstream_writer = await asyncio.open_connection(self.host, self.port)
        both = (writer, upstream_writer)
        for direction, source, sink in (
            ("request", reader, upstream_writer),
            ("answer", upstream_reader, writer),
        ):
            task = asyncio.create_task(self._pass(direction, source, sink, both))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(
        self,
        direction: Direction,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        both: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        try:
            while data := await source.read(65_536):
                cut = self._cut
                if cut and cut.of is None and direction == "request" and self.passed["request"] == 0:
                    asyncio.get_running_loop().call_later(cut.delay_s, self._sever, cut, both)
                last = cut is not None and cut.of == direction and self.passed[direction] + len(data) > cut.size
                if last:
                    data = data[: cut.size - self.passed[direction]]
                self.passed[direction] += len(data)
                self._answered = self._answered or direction == "answer"
                sink.write(data)
                await sink.drain()
                if last:
                    self._sever(cut, both)
        except ConnectionError:
            pass
        finally:
            for writer in both:
                writer.close()

    def _sever(self, cut: Cut, both: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        if self._cut is not cut:
            return
        self._cut = None
        if self._answered:
            self.cuts_answered += 1
        else:
            self.cuts_unanswered += 1
        for writer in both:
            writer.transport.abort()
