"""The stream endpoints: translate, one call, translate. The edge has already admitted the caller."""

from typing import cast

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse

from agents.callers import Caller
from agents.problems import FieldError, Problem
from streams import bodies, protocols, registry, responses, turns
from streams.bodies import InvalidBody
from streams.responses import EventStream
from streams.turn import DialectRequest, Opening, Turn

NAMEABLE = 16
"""On a credential that many people share, a chat id shorter than this names nothing: it could be guessed."""


async def open_turn(request: HttpRequest, agent: str) -> HttpResponseBase:
    """POST: ask the agent something. GET: re-attach as AI SDK 4 does, by `?chatId=`."""
    if request.method == "GET" and "chatId" in request.GET:
        return await reattach(request, agent, request.GET["chatId"])
    if request.method != "POST":
        raise Problem("method_not_allowed", "POST a message to open a turn.", headers={"Allow": "GET, OPTIONS, POST"})
    turn = turns.start(_opening(request, agent))
    try:
        turn.attach()
        await turn.opened
        if turn.dialect == "json":
            return await responses.buffer(turn, instance=request.path)
        encoder = protocols.make(turn.dialect, deltas=request.GET.get("deltas") != "false")
        return EventStream(turn, encoder)
    finally:
        turn.detach()


async def reattach(request: HttpRequest, agent: str, chat: str) -> HttpResponseBase:
    """GET: go on reading a turn that runs, or that ended in the last five minutes where the reader says how far it
    has come. 204 where there is none."""
    if request.method != "GET":
        raise Problem("method_not_allowed", "GET re-attaches to a running turn.", headers={"Allow": "GET, OPTIONS"})
    turn = _named(request, agent, chat)
    after = _after(request)
    try:
        dialect = protocols.choose_for_reattach(
            *_asked(request),
            goes_on_after=after is not None,
            by_query_chat_id="chatId" in request.GET,
            began=turn.dialect if turn is not None else "plain",
        )
    except protocols.UnknownDialect as unknown:
        raise Problem("invalid", str(unknown)) from None
    if turn is None or not turn.log.length or (turn.log.closed and _has_all(turn, dialect, after)):
        return HttpResponse(status=204, headers=responses.UNCACHED)
    if dialect == "json":
        return await responses.buffer(turn, instance=request.path)
    encoder = protocols.make(
        dialect, deltas=request.GET.get("deltas") != "false", replay=dialect == "plain" and after is None
    )
    return EventStream(turn, encoder, after=(after or 0) if dialect == "plain" else 0)


async def stop(request: HttpRequest, agent: str, chat: str) -> HttpResponseBase:
    """POST: end the chat's running turn, here and at the provider. Says whether there was one."""
    if request.method != "POST":
        raise Problem("method_not_allowed", "POST stops a running turn.", headers={"Allow": "OPTIONS, POST"})
    turn = _named(request, agent, chat)
    running = turn is not None and turn.task is not None and not turn.task.done()
    if turn is not None and running:
        turn.end("stopped")
    return JsonResponse({"stopped": running, "turn_id": turn.id if turn is not None and running else None})


def _caller(request: HttpRequest) -> Caller:
    return cast(Caller, request.scope["helpmaton.caller"])


def _opening(request: HttpRequest, agent: str) -> Opening:
    caller = _caller(request)
    try:
        incoming = bodies.parse(request.body, request.content_type or "", allow_system=not caller.public)
    except InvalidBody as invalid:
        errors = [FieldError(error.pointer, error.code, error.detail) for error in invalid.errors]
        raise Problem("invalid", "The body is not a message.", errors=errors) from None
    header, query, accept = _asked(request)
    return Opening(
        caller=caller,
        agent_id=agent,
        incoming=incoming,
        dialect=DialectRequest(header, query, accept),
        request_id=request.headers["X-Request-Id"],
        chat_id=_nameable(caller, incoming.chat_id),
        conversation_id=request.headers.get("X-Conversation-Id") or None,
    )


def _asked(request: HttpRequest) -> tuple[str | None, str | None, str | None]:
    return request.headers.get("X-Stream-Dialect"), request.GET.get("dialect"), request.headers.get("Accept")


def _nameable(caller: Caller, chat_id: str | None) -> str | None:
    if chat_id is None or (caller.shared and len(chat_id) < NAMEABLE):
        return None
    return chat_id


def _named(request: HttpRequest, agent: str, chat: str) -> Turn | None:
    caller = _caller(request)
    chat_id = _nameable(caller, chat)
    return registry.of_this_loop().find(agent, caller.scope, chat_id) if chat_id else None


def _has_all(turn: Turn, dialect: str, after: int | None) -> bool:
    """Whether the reader of a finished turn has nothing more to come: `ui` clients then load the conversation."""
    return dialect == "ui" or after is None or after >= turn.log.length


def _after(request: HttpRequest) -> int | None:
    """How far the reader has come: `Last-Event-ID`, or `?after=`."""
    told = request.headers.get("Last-Event-ID") or request.GET.get("after")
    if told is None:
        return None
    if not told.isascii() or not told.isdigit() or len(told) > 12:
        raise Problem("invalid", "Last-Event-ID is the id of the last event that was read: a number.")
    return int(told)
