"""The state of one turn, from the request that asked for it to its last reader."""

import asyncio
from collections.abc import Callable

import msgspec

from agents.callers import Caller
from agents.problems import Problem
from billing import ids
from billing.pricing import Price
from streams.log import Log
from streams.messages import ChatMessage, Incoming
from streams.meter import Meter
from streams.providers.base import Provider


class DialectRequest(msgspec.Struct, frozen=True):
    """What a request says about the dialect of its answer."""

    header: str | None = None
    query: str | None = None
    accept: str | None = None


class Opening(msgspec.Struct, frozen=True):
    """What a request asks for. `chat_id` is None where the client's id names nothing; `conversation_id` is the one it
    wants to continue."""

    caller: Caller
    agent_id: str
    incoming: Incoming
    dialect: DialectRequest
    request_id: str
    chat_id: str | None = None
    conversation_id: str | None = None


class AgentSettings(msgspec.Struct, frozen=True):
    """The agent as it was when the turn was admitted, with what its plan allows."""

    system_prompt: str
    model: str
    temperature: float | None
    top_p: float | None
    max_output_tokens: int
    stop_sequences: tuple[str, ...]
    show_reasoning: bool
    on_disconnect: str
    disconnect_grace_s: int
    longest_stream_s: int


def message_id(turn_id: str, place: str) -> str:
    """The id of a turn's message: derived, so that a replay writes the same rows. `place` is three characters of
    base32 that sort as the messages stand: their position, `zzz` for the answer."""
    return f"msg_{turn_id.removeprefix('turn_')[:-3]}{place}"


class Turn:
    """One turn. `turns.run` tells its story; readers attach to it; anybody may `end` it."""

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self.id = ids.new("turn")
        self.message_id = message_id(self.id, "zzz")
        self.workspace_id = opening.caller.workspace_id
        self.log = Log()
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None
        # Known after admission.
        self.agent: AgentSettings | None = None
        self.provider: Provider | None = None
        self.price: Price | None = None
        self.dialect = "plain"
        self.conversation_id = ""
        self.messages: tuple[ChatMessage, ...] = ()
        self.prompt_bytes = 0
        self.prompt_tokens = 0
        # Known once credits are held.
        self.reserving = False
        self.meter: Meter | None = None
        self.lease_until = float("inf")
        self.shortage: dict[str, object] = {}
        # How it ends.
        self.interruption: str | None = None
        self.closing = False
        self.on_draining: Callable[[], None] = lambda: None
        self._draining = False
        self._readers = 0
        self._grace: asyncio.TimerHandle | None = None

    def end(self, code: str) -> None:
        """Ask the turn to end, with the code of `endings`; the first asker wins, and an ending turn is left alone."""
        if self.closing or self.task is None:
            return
        if self._draining and code in ("server_restarting", "unavailable", "duration_limit"):
            self.task.cancel()  # there is no time left to read the provider on
        if self.interruption is not None:
            return
        self.interruption = code
        if self._may_drain(code):
            self._draining = True
            asyncio.get_running_loop().call_later(DRAIN_S, self._stop_draining)
            self.on_draining()
        else:
            self.task.cancel()

    def _stop_draining(self) -> None:
        if not self.closing and self.task is not None:
            self.task.cancel()

    def _may_drain(self, code: str) -> bool:
        """Whether the provider is better read to its end: it would bill the rest anyway, and then we know how much."""
        wanted = code in ("stopped", "superseded", "client_left")
        return wanted and self.meter is not None and self.provider is not None and self.provider.on_abort == "drain"

    @property
    def muted(self) -> bool:
        """The provider is only read for its usage any more."""
        return self._draining

    def attach(self) -> None:
        """A reader has come."""
        self._readers += 1
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def detach(self) -> None:
        """A reader has gone. When the last one leaves, the agent's settings say what becomes of the turn."""
        self._readers -= 1
        if self._readers or self.log.closed:
            return
        if self.agent is None:
            self.end("client_left")
        elif self.agent.on_disconnect == "stop":
            if self.agent.disconnect_grace_s:
                loop = asyncio.get_running_loop()
                self._grace = loop.call_later(self.agent.disconnect_grace_s, self.end, "client_left")
            else:
                self.end("client_left")

    @property
    def readers(self) -> int:
        return self._readers

    def refuse(self, problem: Problem) -> None:
        """Tell whoever opened the turn that it is not to be, before anything was sent."""
        if not self.opened.done():
            problem.__traceback__ = None  # its frames hold the request
            self.opened.set_exception(problem)
            self.opened.exception()  # whoever asked may be gone; that is no error

    def open(self) -> None:
        """Tell whoever opened the turn that its log has begun."""
        if not self.opened.done():
            self.opened.set_result(None)

    def forget_the_question(self) -> None:
        """Let go of what was asked: the log stays readable for a while, and needs none of it."""
        self.messages = ()
        self.opened = asyncio.get_running_loop().create_future()
        nothing = msgspec.structs.replace(self.opening.incoming, messages=())
        self.opening = msgspec.structs.replace(self.opening, incoming=nothing)


DRAIN_S = 60.0
"""How long a provider is read on for its usage after nobody wants the answer any more."""
