"""The turns of this process: who runs, who ended lately, and their heartbeat.

Every two seconds all running turns send their readings to the ledger in one call, which renews their holds. A turn
whose hold is gone, or could not be renewed in time, is fenced: it ends at once.
"""

import asyncio
import contextvars
import time
from collections.abc import Coroutine
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import structlog

from billing import door, ledger, postgres
from streams import providers
from streams.turn import Turn

log = structlog.get_logger(__name__)
T = TypeVar("T")

BEAT_S = 2.0
KEEP_S = 300.0
"""How long a finished turn's log can still be read."""
FENCE_MARGIN_S = 1.0

Chat = tuple[str, str, str]
"""Agent, scope, and a chat id or conversation id."""


class Registry:
    """One per event loop."""

    def __init__(self) -> None:
        self.running: dict[str, Turn] = {}
        self.draining = False
        self._by_chat: dict[Chat, Turn] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._beat: asyncio.Task[None] | None = None

    def start(self, turn: Turn, story: Coroutine[Any, Any, None]) -> None:
        """Run the turn as a task of its own, in a context that remembers nothing of the request."""
        turn.task = asyncio.get_running_loop().create_task(story, name=turn.id, context=contextvars.Context())
        self.running[turn.id] = turn
        turn.task.add_done_callback(lambda _: self._over(turn))
        if self._beat is None or self._beat.done():
            self._beat = self.in_background(self._beat_while_running())

    def name(self, turn: Turn) -> None:
        """Make the turn findable by its chat id and its conversation id; call when both are known."""
        for chat in _names(turn):
            self._by_chat[chat] = turn

    def find(self, agent_id: str, scope: str, chat_id: str) -> Turn | None:
        """The newest turn of that chat, running or ended in the last five minutes."""
        return self._by_chat.get((agent_id, scope, chat_id))

    def _over(self, turn: Turn) -> None:
        self.running.pop(turn.id, None)
        turn.forget_the_question()
        if turn.meter is None:
            self._forget(turn)  # it never began: there is nothing to read again
        else:
            asyncio.get_running_loop().call_later(KEEP_S, self._forget, turn)

    def _forget(self, turn: Turn) -> None:
        for chat in _names(turn):
            if self._by_chat.get(chat) is turn:
                del self._by_chat[chat]

    def in_background(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run something that nobody awaits, and hold on to it until it is done."""
        return self.keep(asyncio.get_running_loop().create_task(work, context=contextvars.Context()))

    def keep(self, task: "asyncio.Task[T]") -> "asyncio.Task[T]":
        """Hold on to a task until it is done; what it raises is its own to log."""
        self._background.add(task)
        task.add_done_callback(self._dropped)
        return task

    def _dropped(self, task: "asyncio.Task[Any]") -> None:
        self._background.discard(task)
        if not task.cancelled():
            task.exception()

    async def _beat_while_running(self) -> None:
        while self.running:
            await asyncio.sleep(BEAT_S)
            try:
                await self._read_all()
            except Exception:
                log.exception("heartbeat failed")

    async def _read_all(self) -> None:
        turns = [turn for turn in self.running.values() if turn.meter is not None and not turn.closing]
        if not turns:
            return
        sent = time.monotonic()
        readings = [
            ledger.read(account=turn.workspace_id, turn=turn.id, used_nano=turn.meter.used_nano)  # type: ignore[union-attr]
            for turn in turns
        ]
        outcomes = await door.of_this_loop().submit_all(readings, patience_s=BEAT_S)
        for turn, outcome in zip(turns, outcomes, strict=True):
            if isinstance(outcome, ledger.Outcome):
                if outcome.outcome == "held":
                    turn.lease_until = sent + ledger.LEASE_S
                else:
                    self._fence(turn, "its hold is gone")
            elif time.monotonic() > turn.lease_until - 2 * BEAT_S - FENCE_MARGIN_S:  # the next answer is as far off
                self._fence(turn, "its hold could not be renewed")

    def _fence(self, turn: Turn, why: str) -> None:
        if not turn.closing:
            log.warning("turn fenced", turn_id=turn.id, workspace_id=turn.workspace_id, why=why)
            turn.end("unavailable")

    async def drain(self, grace_s: float) -> None:
        """Take no new turns, let the running ones finish for `grace_s`, then end them politely and wait until every
        one is settled and its readers have heard the end."""
        self.draining = True
        turns = list(self.running.values())
        await self._wait_for_turns(grace_s)
        for turn in list(self.running.values()):
            turn.end("server_restarting")
        await self._wait_for_turns(15.0)
        await _wait_for_readers(turns)
        settling = self._background - {asyncio.current_task(), self._beat}
        if settling:
            await asyncio.wait(settling, timeout=5.0)

    async def _wait_for_turns(self, seconds: float) -> None:
        tasks = {turn.task for turn in self.running.values() if turn.task is not None}
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    async def aclose(self) -> None:
        """Close what the turns shared: ledger, pool, providers."""
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await door.close()
        await postgres.close()
        await providers.close()


async def _wait_for_readers(turns: list[Turn]) -> None:
    """Until everybody has heard the end, as long as they keep reading; two seconds at most."""
    for _ in range(100):
        if not any(turn.readers for turn in turns):
            break
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.05)  # what was sent is still on its way through the server's transports


def _names(turn: Turn) -> list[Chat]:
    agent_id, scope = turn.opening.agent_id, turn.opening.caller.scope
    chats = [turn.conversation_id, turn.opening.chat_id]
    return [(agent_id, scope, chat) for chat in chats if chat]


_registries: "WeakKeyDictionary[asyncio.AbstractEventLoop, Registry]" = WeakKeyDictionary()


def of_this_loop() -> Registry:
    """The running loop's registry."""
    loop = asyncio.get_running_loop()
    registry = _registries.get(loop)
    if registry is None:
        registry = _registries[loop] = Registry()
    return registry
