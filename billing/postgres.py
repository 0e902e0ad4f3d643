"""PostgreSQL from the event loop: a small fixed pool for reads that belongs to the loop, outside Django's connections.

Stream code may not touch the ORM: that would pin a thread and a connection for as long as the stream lives.
"""

import asyncio
import contextvars
from collections.abc import Coroutine, Hashable, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import psycopg
from django.db import connections
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

T = TypeVar("T")

POOL_SIZE = 3
WAIT_S = 5.0

_pools: "WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncConnectionPool[AsyncConnection[dict[str, Any]]]]" = (
    WeakKeyDictionary()
)


def conninfo() -> str:
    """Where Django's default database is, for psycopg."""
    settings = connections["default"].settings_dict
    fields = {
        "dbname": settings["NAME"],
        "user": settings["USER"] or None,
        "password": settings["PASSWORD"] or None,
        "host": settings["HOST"] or None,
        "port": settings["PORT"] or None,
        **{key: value for key, value in settings["OPTIONS"].items() if isinstance(value, str | int)},
    }
    return make_conninfo(**{key: value for key, value in fields.items() if value is not None})


async def _pool() -> AsyncConnectionPool[AsyncConnection[dict[str, Any]]]:
    loop = asyncio.get_running_loop()
    pool = _pools.get(loop)
    if pool is None:
        pool = AsyncConnectionPool(
            conninfo(),
            min_size=POOL_SIZE,
            max_size=POOL_SIZE,
            timeout=WAIT_S,
            kwargs={"autocommit": True, "row_factory": dict_row, "prepare_threshold": 1},
            open=False,
            name="reads",
        )
        _pools[loop] = pool
        await pool.open()
    return pool


async def fetch_one(statement: str, parameters: Sequence[object] | dict[str, Any]) -> dict[str, Any] | None:
    """The first row as a dict, or None. Raises psycopg.OperationalError where the database is away or hangs."""
    rows = await fetch_all(statement, parameters)
    return rows[0] if rows else None


async def fetch_all(statement: str, parameters: Sequence[object] | dict[str, Any]) -> list[dict[str, Any]]:
    """All rows as dicts. Raises as `fetch_one`."""
    return await _in_time(_fetch(statement, parameters))


async def _fetch(statement: str, parameters: Sequence[object] | dict[str, Any]) -> list[dict[str, Any]]:
    pool = await _pool()
    for attempt in range(POOL_SIZE + 1):
        # Connections are not checked before use, which would cost every read a round trip: one that turns out to be
        # dead leaves the pool, and at worst all of them are.
        try:
            async with pool.connection() as connection:
                cursor = await connection.execute(statement, parameters)
                return await cursor.fetchall()
        except psycopg.OperationalError:
            if attempt == POOL_SIZE:
                raise
    raise AssertionError("the last attempt returns or raises")


class SharedRead:
    """A statement that many ask at once with the same parameters.

    All that ask while a read is under way share the next one: no read is older than the question, and a thousand
    questions at once cost two reads.
    """

    def __init__(self, statement: str) -> None:
        self._statement = statement
        self._next: dict[Hashable, asyncio.Task[dict[str, Any] | None]] = {}
        self._under_way: dict[Hashable, asyncio.Task[dict[str, Any] | None]] = {}

    async def row(self, *parameters: Hashable) -> dict[str, Any] | None:
        """The first row, or None; not to be changed. Raises as `fetch_one`."""
        loop = asyncio.get_running_loop()
        key = (loop, parameters)
        read = self._next.get(key)
        if read is None:
            read = self._next[key] = loop.create_task(self._read(key), context=contextvars.Context())
            read.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(read)

    async def _read(self, key: tuple[asyncio.AbstractEventLoop, tuple[Hashable, ...]]) -> dict[str, Any] | None:
        if (earlier := self._under_way.get(key)) is not None:
            await asyncio.wait({earlier})
        self._under_way[key] = self._next.pop(key)
        try:
            return await fetch_one(self._statement, list(key[1]))
        finally:
            if self._next.get(key) is None:
                del self._under_way[key]


async def _in_time(work: Coroutine[Any, Any, T]) -> T:
    """The result, if it is there within WAIT_S.

    A task of its own: a query that is cancelled first asks the server to cancel it, and a server that hangs does not
    answer that either, so nobody may wait for it.
    """
    task = asyncio.ensure_future(work)
    _under_way.add(task)
    task.add_done_callback(_over)
    try:
        await asyncio.wait({task}, timeout=WAIT_S)
        if task.done():
            return task.result()
    finally:
        task.cancel()
    raise psycopg.OperationalError("the database did not answer in time")


_under_way: set["asyncio.Future[Any]"] = set()


def _over(task: "asyncio.Future[Any]") -> None:
    _under_way.discard(task)
    if not task.cancelled():
        task.exception()  # whoever asked may be gone


async def close() -> None:
    """Close this loop's pool."""
    pool = _pools.pop(asyncio.get_running_loop(), None)
    if pool is not None:
        await pool.close()
