"""One turn, from admission to settlement, in one lexical scope.

A turn is a task of its own; responses only listen to its log. Whoever leaves, this scope decides what is charged:
credits are held before the model is asked and settled exactly once, however the turn ends, and only then does the log
close, so that a client hears the end after the money is final.
"""

import asyncio
import time
from contextlib import aclosing

import psycopg
import structlog

from agents.problems import Problem
from billing import door, ledger, money, pricing
from billing.door import LedgerFault, LedgerUnavailable
from streams import admission, endings, records, registry
from streams.endings import Ended, Ending
from streams.events import (
    Aborted,
    Event,
    Failed,
    Finished,
    Notice,
    ReasoningDelta,
    Started,
    StepFinished,
    StepStarted,
    TextDelta,
    Usage,
)
from streams.meter import Meter
from streams.providers.base import Chunk, ModelFinished, ModelRequest, ProviderError
from streams.turn import Opening, Turn

log = structlog.get_logger(__name__)

SETTLE_WAIT_S = 10.0
"""How long a client is kept waiting for its bill; the settlement itself goes on for SETTLE_PATIENCE_S."""
SETTLE_PATIENCE_S = 900.0
SUPERSEDE_WAIT_S = 3.0
SIMULATED = Notice("simulated", "Simulated: no AI provider is called.")


def start(opening: Opening) -> Turn:
    """Begin a turn. Await `turn.opened` for its first event or its refusal (Problem)."""
    running = registry.of_this_loop()
    if running.draining:
        raise Problem("unavailable", "This server is being restarted.", headers={"Retry-After": "2"})
    turn = Turn(opening)
    running.start(turn, run(turn))
    return turn


async def run(turn: Turn) -> None:
    """The whole story of a turn. Never raises, except that a cancelled loop cancels it too, after settling."""
    structlog.contextvars.bind_contextvars(
        request_id=turn.opening.request_id, workspace_id=turn.workspace_id, turn_id=turn.id
    )
    ending, charged = Ending("internal_error"), 0
    turn.on_draining = lambda: _close_early(turn)
    try:
        try:
            predecessor = _predecessor(turn)
            await admission.admit(turn, known_conversation=predecessor.conversation_id if predecessor else None)
            await _take_over(turn)
            await _hold_credits(turn)
            ending = await _answer(turn)
        except Problem as refusal:
            turn.refuse(refusal)
            ending = Ending(refusal.code)
        except psycopg.OperationalError:
            log.exception("the database is away")
            turn.refuse(Problem("unavailable", "The agent cannot be read at the moment.", headers={"Retry-After": "2"}))
            ending = Ending("unavailable")
        except Ended as reason:
            ending = reason.ending
        except ProviderError as error:
            log.warning("provider failed", code=error.code, detail=error.summary)
            ending = Ending(error.code)
        except asyncio.CancelledError:
            ending = endings.aborted(turn.interruption or "server_restarting")
        except Exception:
            log.exception("turn failed")
            turn.refuse(Problem("internal_error", "The error is logged under the request id."))
        finally:
            turn.closing = True
            ending, charged = await _shielded_settlement(turn, ending)
    finally:
        _close(turn, ending, charged)


def _predecessor(turn: Turn) -> Turn | None:
    """The newest turn of the same chat that this process knows."""
    opening = turn.opening
    chat = opening.conversation_id or opening.chat_id
    if chat is None:
        return None
    return registry.of_this_loop().find(opening.agent_id, opening.caller.scope, chat)


async def _take_over(turn: Turn) -> None:
    """A chat has one running turn: an earlier one ends, and its credits are free before ours are held, unless its
    provider is still read for the usage.

    Looked up and named without a pause between, so that of two that come at once the later sees the earlier.
    """
    predecessor = _predecessor(turn)
    if predecessor is not None:
        turn.conversation_id = predecessor.conversation_id
    registry.of_this_loop().name(turn)
    if predecessor is not None and predecessor.task is not None and not predecessor.task.done():
        predecessor.end("superseded")
        if not predecessor.log.closed:
            await asyncio.wait({predecessor.task}, timeout=SUPERSEDE_WAIT_S)


async def _hold_credits(turn: Turn) -> None:
    """Reserve the prompt and the longest answer, or as much of it as can be paid."""
    assert turn.agent is not None
    assert turn.price is not None
    cap = turn.agent.max_output_tokens
    hold = pricing.hold(turn.price, prompt_tokens=turn.prompt_tokens, output_cap=cap)
    item = ledger.reserve(account=turn.workspace_id, turn=turn.id, amount_nano=hold.wanted, least_nano=hold.least)
    turn.reserving = True
    sent = time.monotonic()
    try:
        outcome = await door.of_this_loop().submit(item, records.opening(turn))
    except LedgerUnavailable:
        raise Problem("unavailable", "Credits cannot be held at the moment.", headers={"Retry-After": "2"}) from None
    if outcome.outcome != "held":
        raise Ended("insufficient_credits", **_shortage(turn, hold.least, outcome.available))
    turn.lease_until = sent + ledger.LEASE_S
    turn.shortage = _shortage(turn, hold.wanted, outcome.amount)
    turn.meter = Meter(
        turn.price,
        held_nano=outcome.amount,
        prompt_bytes=turn.prompt_bytes,
        prompt_tokens=turn.prompt_tokens,
        cap_tokens=cap,
    )


def _shortage(turn: Turn, required_nano: int, available_nano: int) -> dict[str, object]:
    """What a reader is told of credits that do not suffice."""
    return {
        "workspaceId": turn.workspace_id,
        "required": money.usd(required_nano),
        "available": money.usd(available_nano),
        "currency": "USD",
    }


async def _answer(turn: Turn) -> Ending:
    """Ask the provider and put what it says into the log."""
    assert turn.agent is not None
    assert turn.provider is not None
    assert turn.meter is not None
    agent = turn.agent
    turn.log.append(Started(turn.conversation_id, turn.id, turn.message_id, agent.model))
    turn.open()
    if turn.provider.simulated:
        turn.log.append(SIMULATED)
    turn.log.append(StepStarted())
    request = ModelRequest(
        model=agent.model,
        messages=turn.messages,
        max_output_tokens=turn.meter.max_tokens,
        system=agent.system_prompt or None,
        temperature=agent.temperature,
        top_p=agent.top_p,
        stop_sequences=agent.stop_sequences,
    )
    deadline = asyncio.get_running_loop().call_later(agent.longest_stream_s, turn.end, "duration_limit")
    reason: ModelFinished | None = None
    try:
        async with aclosing(turn.provider.stream(request)) as answer:
            async for chunks in answer:
                for chunk in chunks:
                    reason = _take(turn, chunk) or reason
    finally:
        deadline.cancel()
    if turn.interruption is not None:
        return endings.aborted(turn.interruption)
    turn.log.append(StepFinished())
    if reason is not None and reason.reason == "length" and turn.meter.limited_by == "insufficient_credits":
        return Ended("insufficient_credits", **turn.shortage).ending
    return endings.finished(reason.reason if reason is not None else "other")


def _take(turn: Turn, chunk: Chunk) -> ModelFinished | None:
    """One chunk of the provider's answer: count it, then log it. Raises Ended where the hold is used up."""
    assert turn.meter is not None
    assert turn.agent is not None
    match chunk:
        case TextDelta(text) | ReasoningDelta(text):
            if turn.muted:
                return None
            paid = turn.meter.take(text)
            if paid and (isinstance(chunk, TextDelta) or turn.agent.show_reasoning):
                turn.log.append(chunk if paid == text else type(chunk)(paid))
            if len(paid) < len(text):
                raise Ended(turn.meter.limited_by, **(turn.shortage if turn.meter.limited_by != "output_limit" else {}))
        case Usage():
            turn.meter.report(chunk)
        case Notice() if not turn.muted:
            turn.log.append(chunk)
        case ModelFinished():
            return chunk
    return None


async def _shielded_settlement(turn: Turn, ending: Ending) -> tuple[Ending, int]:
    """Settle once, whatever happens to this task meanwhile; returns how the turn ended and what it was charged.

    The settlement runs as a task that the registry holds. A client waits for it for a while; where the ledger cannot
    be reached, the settlement goes on without it.
    """
    if not turn.reserving:
        return ending, 0
    work = registry.of_this_loop().keep(asyncio.create_task(_settle(turn, ending)))
    try:
        await asyncio.wait({work}, timeout=SETTLE_WAIT_S)
    except asyncio.CancelledError:
        await asyncio.wait({work}, timeout=SETTLE_WAIT_S)
        raise
    if not work.done() or work.cancelled() or work.exception() is not None:
        log.error("turn is not settled yet", turn_id=turn.id)
        return Ending("unavailable"), 0
    return ending, work.result()


async def _settle(turn: Turn, ending: Ending) -> int:
    """Charge what was used and write how it ended, in one round trip; nano-dollars charged."""
    if turn.meter is None:
        item = ledger.release(account=turn.workspace_id, turn=turn.id)
    else:
        estimated = turn.meter.total.estimated
        item = ledger.settle(
            account=turn.workspace_id, turn=turn.id, used_nano=turn.meter.used_nano, estimated=estimated
        )
    try:
        outcome = await door.of_this_loop().submit(item, records.closing(turn, ending), patience_s=SETTLE_PATIENCE_S)
    except (LedgerUnavailable, LedgerFault):
        log.exception("settlement failed; the sweeper will settle the hold from its last reading")
        raise
    if outcome.uncovered:
        log.warning("usage beyond the hold could not be covered", uncovered_nano=outcome.uncovered)
    return outcome.charged


def _close_early(turn: Turn) -> None:
    """The provider is read on for its usage; who stopped the turn hears its end at once, with our count of it."""
    assert turn.interruption is not None
    assert turn.meter is not None
    _close(turn, endings.aborted(turn.interruption), turn.meter.used_nano)


def _close(turn: Turn, ending: Ending, charged_nano: int) -> None:
    """The log's last words. Nobody waits for ever: this runs whatever went wrong before."""
    if turn.log.closed:
        return
    usage = turn.meter.total if turn.meter is not None else Usage()
    last: list[Event] = []
    if ending.code in endings.ABORTS:
        last.append(Aborted("superseded" if ending.code == "superseded" else "stopped"))
    elif ending.code != "finished":
        sentence = endings.SENTENCES.get(ending.code, endings.SENTENCES["internal_error"])
        last.append(Failed(ending.code, sentence, turn.opening.request_id, ending.details))
    for event in (*last, Finished(ending.finish_reason, usage, charged_nano)):
        turn.log.append(event)
    turn.open()
    log.info(
        "turn ended",
        ending=ending.code,
        output_tokens=usage.output_tokens,
        charged_nano=charged_nano,
    )
