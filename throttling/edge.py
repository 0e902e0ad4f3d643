"""The edge: ASGI in front of Django. Whoever may not come in is turned away here, cheapest check first.

For every request: an id, and a body of at most 1 MiB. For stream paths also: the secret leaves the path before
anything can log it; then path grammar, credential, role and origin. What passes carries a `Caller`.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

import psycopg
import structlog
from django.conf import settings
from django.db import OperationalError

from agents import access, permissions, problems, sessions, vault
from agents.callers import Caller
from agents.problems import Problem
from billing import ids
from throttling import addresses, origins, paths
from throttling.paths import StreamPath

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

log = structlog.get_logger(__name__)

BODY_LIMIT = 1024 * 1024
LINGER_BYTES = 8 * BODY_LIMIT
LINGER_S = 1.0
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
ALLOW = {"Allow": "GET, OPTIONS, POST"}
ORDINARY_AT_ONCE = 32
"""How many requests outside the streams are served at once; each takes a thread and a PostgreSQL connection."""


class Edge:
    """`streams` serves stream paths, `rest` everything else."""

    def __init__(self, *, streams: App, rest: App) -> None:
        self._streams = streams
        self._rest = rest
        self._room = asyncio.Semaphore(ORDINARY_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 4404})
            return
        request_id = _identify(scope)
        _see_through_proxies(scope)
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            if scope["path"].startswith(paths.PREFIX):
                await self._stream(scope, receive, send, request_id)
            else:
                await self._ordinary(scope, receive, send, request_id)

    async def _ordinary(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        own = [(b"x-request-id", request_id.encode()), (b"api-version", settings.API_VERSION.encode())]

        async def send_with_id(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        try:
            body = await read_body(scope, receive)
        except Problem as refusal:
            await _refuse(refusal, scope, receive, send, request_id, [])
            return
        if body is not None:
            async with self._room:
                await self._rest(scope, _replay(body, receive), send_with_id)

    async def _stream(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        origin = _header(scope, b"origin")
        cors = origins.answer(origin)
        try:
            path = _take_out_secret(scope)
            if scope["method"] not in ("GET", "POST", "OPTIONS"):
                raise Problem("method_not_allowed", "Streams know GET, POST and OPTIONS.", headers=ALLOW)
            if scope["method"] == "OPTIONS":
                await _answer(send, 204, [*origins.preflight(origin), (b"x-request-id", request_id.encode())], b"")
                return
            caller = await _admit(scope, path)
            if origin is not None and not _may_read(caller, origin):
                cors = origins.answer(None)
                raise Problem("origin_not_allowed", "This origin is not on the list of this credential.")
            scope["helpmaton.body"] = await read_body(scope, receive)
            if scope["helpmaton.body"] is None:
                return
        except Problem as refusal:
            await _refuse(refusal, scope, receive, send, request_id, cors)
            return
        except (psycopg.OperationalError, OperationalError):
            log.exception("credential could not be checked")
            unavailable = Problem("unavailable", "The credential cannot be checked.", headers={"Retry-After": "2"})
            await _refuse(unavailable, scope, receive, send, request_id, cors)
            return
        except Exception:
            log.exception("internal error at the edge")
            internal = Problem("internal_error", "The error is logged under the request id.")
            await _refuse(internal, scope, receive, send, request_id, cors)
            return
        scope["helpmaton.caller"] = caller
        scope["helpmaton.headers"] = [
            *cors,
            (b"x-request-id", request_id.encode()),
            (b"api-version", settings.API_VERSION.encode()),
        ]
        await self._streams(scope, receive, send)


def _identify(scope: Scope) -> str:
    """The request's id: the caller's if it is one, else ours; from here on it is among the headers."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    request_id = given if _REQUEST_ID.fullmatch(given) else ids.new("req").encode()
    scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"x-request-id"]
    scope["headers"].append((b"x-request-id", request_id))
    return request_id.decode()


def _see_through_proxies(scope: Scope) -> None:
    """Put the client's own address where the nearest proxy's stands."""
    if settings.TRUSTED_PROXIES and scope.get("client"):
        host, port = scope["client"]
        scope["client"] = (addresses.client(host, _header(scope, b"x-forwarded-for"), settings.TRUSTED_PROXIES), port)


def _header(scope: Scope, wanted: bytes) -> str | None:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), None)


def _take_out_secret(scope: Scope) -> StreamPath:
    """Parse the path and put one without the secret in its place, in the very scope that servers log from."""
    raw = scope.get("raw_path") or scope["path"].encode()
    path = paths.parse(raw.split(b"?")[0].decode("latin-1"))
    if path is None:
        scope["path"], scope["raw_path"] = paths.PREFIX, paths.PREFIX.encode()
        raise Problem("not_found", "There is no such path; see the stream URL of the agent.")
    scope["path"], scope["raw_path"] = path.without_secret, path.raw_without_secret
    return path


async def _admit(scope: Scope, path: StreamPath) -> Caller:
    """The caller, by whichever credential the path wants. Raises Problem."""
    bearer = _bearer(scope)
    if path.by == "member":
        return await _admit_key(bearer, path) if bearer is not None else await _admit_member(scope, path)
    secret = path.secret if path.by == "path" else bearer
    if secret is None or vault.public_id(secret, vault.STREAM_SECRET) is None:
        raise _unauthenticated("A stream secret is missing or malformed.")
    caller = await access.stream_secret(secret, workspace_id=path.workspace_id, agent_id=path.agent_id)
    if caller is None:
        raise _unauthenticated("The stream secret is unknown, expired or another agent's.")
    return caller


async def _admit_key(bearer: str, path: StreamPath) -> Caller:
    if vault.public_id(bearer, vault.API_KEY) is None:
        raise _unauthenticated("The API key is malformed.")
    found = await access.api_key(bearer, workspace_id=path.workspace_id)
    if found is None:
        raise _unauthenticated("The API key is unknown, expired or another workspace's.")
    caller, scopes = found
    if not permissions.scopes_may(scopes, permissions.Action.OPEN_STREAMS):
        raise Problem("permission_denied", "The API key has not the scope streams:open.")
    return caller


async def _admit_member(scope: Scope, path: StreamPath) -> Caller:
    if f"{settings.SESSION_COOKIE_NAME}=" not in (_header(scope, b"cookie") or ""):
        raise Problem("session_invalid", "Sign in, or send an API key.")
    member = await sessions.member(dict(scope), path.workspace_id)
    if member is None:
        raise Problem("session_invalid", "The session has ended, or the CSRF token is missing or wrong.")
    if member.role is None or not permissions.role_may(member.role, permissions.Action.OPEN_STREAMS):
        raise Problem("permission_denied", "Only editors, admins and owners of the workspace may test its agents.")
    return Caller(
        kind="user",
        scope=member.user_id,
        shared=False,
        workspace_id=path.workspace_id,
        credential_id=member.user_id,
    )


def _bearer(scope: Scope) -> str | None:
    kind, _, value = (_header(scope, b"authorization") or "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else None


def _unauthenticated(detail: str) -> Problem:
    return Problem("unauthenticated", detail, headers={"WWW-Authenticate": "Bearer"})


def _too_large() -> Problem:
    # Made anew each time: an exception that is raised again keeps the frames of every time before.
    return Problem("too_large", "The body is larger than 1 MiB.")


def _may_read(caller: Caller, origin: str) -> bool:
    listed = caller.allowed_origins if caller.kind == "secret" else (settings.PUBLIC_URL,)
    return origins.allowed(origin, listed)


async def read_body(scope: Scope, receive: Receive) -> bytes | None:
    """The whole body; None where the client left meanwhile. Raises Problem before more than 1 MiB is read."""
    declared = _header(scope, b"content-length") or "0"
    if not declared.isdigit() or int(declared) > BODY_LIMIT:
        raise _too_large()
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > BODY_LIMIT:
            raise _too_large()
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once, then whatever comes."""
    given = False

    async def replayed() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


async def _refuse(
    refusal: Problem, scope: Scope, receive: Receive, send: Send, request_id: str, headers: Headers
) -> None:
    own = [(name.lower().encode(), value.encode()) for name, value in refusal.headers.items()]
    if not any(name == b"x-request-id" for name, _ in headers):
        own.append((b"x-request-id", request_id.encode()))
    own.append((b"api-version", settings.API_VERSION.encode()))
    if refusal.code == "too_large":
        own.append((b"connection", b"close"))
    body = problems.encode(refusal, instance=scope["path"], request_id=request_id)
    own += [(b"content-type", problems.CONTENT_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": refusal.status, "headers": [*headers, *own]})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await _linger(receive)
    await send({"type": "http.response.body", "body": b""})


async def _linger(receive: Receive) -> None:
    """Read on for a moment: a connection closed on a client that still sends is reset, and takes the answer with it."""
    left = LINGER_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


async def _answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
