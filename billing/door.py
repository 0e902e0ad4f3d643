"""The asynchronous door to the ledger: group commit.

One writer per event loop, on a connection of its own. What arrives while a call is under way waits and goes together
in the next one; nothing waits when the ledger is idle. A connection lost in mid-commit leaves the outcome unknown: the
same items are sent again, and `ledger_apply` answers each what it answered first. An item the database refuses fails
alone: its group is sent again one by one.

A `Rider` is a statement that goes in the same round trip and transaction as its item (conversation and turn rows). A
rider never stands in the way of money: where it fails, the items are sent without their riders, and the riders after
them on their own.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import psycopg
import structlog
from psycopg import AsyncConnection

from billing import ledger, postgres
from billing.ledger import Item, Outcome

log = structlog.get_logger(__name__)

GROUP = 256
CALL_S = 10.0
RIDERS_TIMEOUT = "SELECT set_config('lock_timeout', '500', true)"  # milliseconds, for this transaction
LATE_RIDER_TIMEOUT = "SET statement_timeout = '5s'"
BACKOFF_S = (0.02, 0.1, 0.5, 1.0)
_WAITED_FOR_A_LOCK = (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled)


class LedgerUnavailable(Exception):
    """The ledger could not be reached in time; whether the item was applied is unknown until it is asked again."""


class LedgerFault(Exception):
    """The database refused the item: a mistake of ours, never of money."""


class Rider(NamedTuple):
    """A statement to run with an item. It must be safe to run twice."""

    statement: str
    parameters: Sequence[Any] | dict[str, Any]


class _Waiting(NamedTuple):
    item: Item
    rider: Rider | None
    future: "asyncio.Future[Outcome]"

    @property
    def given_up(self) -> bool:
        """Whoever asked has heard that it failed; one who merely left has not called the item back."""
        return self.future.done() and not self.future.cancelled()


class Door:
    """Sends items in groups. Use `of_this_loop`; tests may make their own."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._connection: AsyncConnection[Any] | None = None
        self._queue: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._failures = 0
        self._late_riders: set[asyncio.Task[None]] = set()
        self.calls = 0

    async def submit(self, item: Item, rider: Rider | None = None, *, patience_s: float = 5.0) -> Outcome:
        """The item's outcome. Raises LedgerUnavailable after `patience_s`, LedgerFault where the item is impossible.

        Cancelling the caller does not call the item back.
        """
        return await self._enqueue(item, rider, patience_s)

    async def submit_all(self, items: Sequence[Item], *, patience_s: float = 5.0) -> list[Outcome | BaseException]:
        """The outcomes of many items in as few calls as possible; an exception stands where one failed."""
        futures = [self._enqueue(item, None, patience_s) for item in items]
        return await asyncio.gather(*futures, return_exceptions=True)

    def _enqueue(self, item: Item, rider: Rider | None, patience_s: float) -> "asyncio.Future[Outcome]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        waiting = _Waiting(item, rider, future)
        self._queue.append(waiting)
        # A database that hangs must not hold up whoever waits: the call under way may take longer than their patience.
        late = LedgerUnavailable("the ledger did not answer in time")
        timer = loop.call_later(patience_s, _fail, waiting, late)
        future.add_done_callback(lambda _: timer.cancel())
        if self._writer is None or self._writer.done():
            self._writer = loop.create_task(self._write(), name="ledger-writer", context=contextvars.Context())
        self._wake.set()
        return future

    async def aclose(self) -> None:
        """Stop the writer, fail what waits, close the connection."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        await asyncio.gather(*self._late_riders, return_exceptions=True)
        for waiting in self._queue:
            _fail(waiting, LedgerUnavailable("the ledger's door is closed"))
        self._queue.clear()
        await self._disconnect()

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            group = [self._queue.popleft() for _ in range(min(GROUP, len(self._queue)))]
            if not self._queue:
                self._wake.clear()
            try:
                await self._send([waiting for waiting in group if not waiting.given_up])
            except BaseException:
                self._queue.extendleft(reversed([waiting for waiting in group if not waiting.future.done()]))
                raise

    async def _send(self, group: list[_Waiting]) -> None:
        """Send until every item of the group has its outcome or has run out of patience."""
        while group:
            try:
                outcomes = await self._call(group)
            except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError, OSError) as error:
                if isinstance(error, _WAITED_FOR_A_LOCK) and any(waiting.rider is not None for waiting in group):
                    await self._disconnect()
                    await self._send_apart(group, error)
                    return
                group = await self._wait_after(error, group)
            except psycopg.Error as error:
                await self._disconnect()
                await self._send_apart(group, error)
                return
            else:
                self._failures = 0
                for waiting, outcome in zip(group, outcomes, strict=True):
                    if not waiting.future.done():
                        waiting.future.set_result(outcome)
                return

    async def _call(self, group: list[_Waiting]) -> list[Outcome]:
        self.calls += 1
        async with asyncio.timeout(CALL_S):
            connection = self._connection or await self._connect()
            riders = [waiting.rider for waiting in group if waiting.rider is not None]
            items = ledger.encode([waiting.item for waiting in group])
            if not riders:
                cursor = await connection.execute(ledger.STATEMENT, [items])
                return [Outcome(*row) for row in await cursor.fetchall()]
            # Without a sync between them the statements of a pipeline are one transaction and one round trip.
            async with connection.pipeline():
                cursor = await connection.execute(ledger.STATEMENT, [items])
                # Money waits for its accounts; rows that somebody else has locked do not keep it waiting.
                await connection.execute(RIDERS_TIMEOUT)
                for rider in riders:
                    await connection.execute(rider.statement, rider.parameters)
                return [Outcome(*row) for row in await cursor.fetchall()]

    async def _send_apart(self, group: list[_Waiting], error: BaseException) -> None:
        """Something in the group is impossible: money first, without the riders; then find the item that is it."""
        riders = [waiting for waiting in group if waiting.rider is not None]
        if riders:
            log.error("a rider failed", riders=len(riders), error=type(error).__name__)
            await self._send([waiting._replace(rider=None) for waiting in group])
            self._ride_alone([waiting.rider for waiting in riders if waiting.rider is not None])
        elif len(group) > 1:
            for waiting in group:
                await self._send([waiting])
        else:
            [waiting] = group
            log.error("ledger refused an item", op=waiting.item.op, turn=waiting.item.turn, error=type(error).__name__)
            _fail(waiting, LedgerFault(f"{waiting.item.op} was refused: {type(error).__name__}"))

    def _ride_alone(self, riders: list[Rider]) -> None:
        task = asyncio.get_running_loop().create_task(self._ride_one_by_one(riders), context=contextvars.Context())
        self._late_riders.add(task)
        task.add_done_callback(self._late_riders.discard)

    async def _ride_one_by_one(self, riders: list[Rider]) -> None:
        """Riders that could not go with their items, each in a transaction of its own, on another connection."""
        for rider in riders:
            try:
                async with await AsyncConnection.connect(self._conninfo, autocommit=True) as connection:
                    await connection.execute(LATE_RIDER_TIMEOUT)
                    await connection.execute(rider.statement, rider.parameters)
            except (psycopg.Error, OSError) as error:
                log.error("a rider is lost", error=type(error).__name__, sqlstate=getattr(error, "sqlstate", None))

    async def _wait_after(self, error: BaseException, group: list[_Waiting]) -> list[_Waiting]:
        """The connection is gone: pause, and return those who still have patience."""
        await self._disconnect()
        pause = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
        self._failures += 1
        log.warning("ledger connection lost", error=type(error).__name__, waiting=len(group), pause_s=pause)
        await asyncio.sleep(pause)
        return [waiting for waiting in group if not waiting.future.done()]

    async def _connect(self) -> AsyncConnection[Any]:
        self._connection = await AsyncConnection.connect(self._conninfo, autocommit=True, prepare_threshold=1)
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(error)


_doors: "WeakKeyDictionary[asyncio.AbstractEventLoop, Door]" = WeakKeyDictionary()


def of_this_loop() -> Door:
    """The running loop's door."""
    loop = asyncio.get_running_loop()
    door = _doors.get(loop)
    if door is None:
        door = _doors[loop] = Door(postgres.conninfo())
    return door


async def close() -> None:
    """Close this loop's door."""
    door = _doors.pop(asyncio.get_running_loop(), None)
    if door is not None:
        await door.aclose()
