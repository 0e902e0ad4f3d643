"""Who serves which path, and the life of the process: start, drain, end.

Streams get a handler of their own: the same URLs, settings and async views, but none of the thread hops that Django's
ordinary handler and middleware make, each of which would keep a thread for as long as the stream lives.
"""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from io import BytesIO
from types import FrameType
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "helpmaton.settings")
django.setup()

import structlog  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.exceptions import RequestDataTooBig  # noqa: E402
from django.core.handlers.asgi import ASGIHandler, ASGIRequest  # noqa: E402
from django.http import Http404, HttpResponseBase  # noqa: E402
from django.urls import get_resolver, resolve  # noqa: E402

from agents import problems  # noqa: E402
from agents.problems import Problem  # noqa: E402
from helpmaton import logs  # noqa: E402
from streams import registry  # noqa: E402
from throttling.edge import Edge  # noqa: E402

log = structlog.get_logger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class StreamHandler(ASGIHandler):
    """Serves one stream request on the event loop: resolve, await the view, send, close; no middleware, no signals."""

    def load_middleware(self, is_async: bool = False) -> None:
        """None: the edge has done what middleware would do."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        work = asyncio.ensure_future(self._respond(scope, send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            if not work.done():
                work.cancel()
            await asyncio.wait({work})
        if not work.cancelled() and work.exception() is not None:
            raise work.exception()  # type: ignore[misc]

    async def _respond(self, scope: Message, send: Send) -> None:
        headers = scope.pop("helpmaton.headers")
        # The request is given away: nobody needs it while its answer streams.
        response = await _view(ASGIRequest(scope, BytesIO(scope.pop("helpmaton.body"))))
        try:
            for name, value in headers:
                response.headers[name.decode()] = value.decode("latin-1")
            await self.send_response(response, send)
        finally:
            response.close()


async def _view(request: ASGIRequest) -> HttpResponseBase:
    """The view's response, or the problem that kept it from making one."""
    try:
        match = resolve(request.path_info)
        return await match.func(request, *match.args, **match.kwargs)
    except Problem as refusal:
        problem = refusal
    except Http404:
        problem = Problem("not_found", "There is no such path.")
    except RequestDataTooBig:
        problem = Problem("too_large", "The body is larger than 1 MiB.")
    except Exception:
        log.exception("internal error", path=request.path)
        problem = Problem("internal_error", "The error is logged under the request id.")
    return problems.respond(problem, instance=request.path, request_id=request.headers["X-Request-Id"])


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Life:
    """Start and end of the process. uvicorn and granian tell by `lifespan`; daphne does not, so whatever comes first
    starts it. On SIGTERM the turns are drained before the server's own handler hears of it: neither uvicorn nor daphne
    lets detached tasks settle."""

    def __init__(self) -> None:
        self._started = False

    def start(self) -> None:
        """Take over SIGTERM, once, where signals can be taken."""
        if self._started:
            return
        self._started = True
        # What was imported stays: the collector need not look at it again on every round.
        gc.collect()
        gc.freeze()
        gc.set_threshold(5_000, 20, 20)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._take_over(number, signal.getsignal(number))

    def _take_over(self, number: signal.Signals, server: Any) -> None:
        loop = asyncio.get_running_loop()

        def drain_first(signum: int, frame: FrameType | None) -> None:
            signal.signal(number, server)
            loop.call_soon_threadsafe(lambda: registry.of_this_loop().in_background(self._drain(signum, server)))

        signal.signal(number, drain_first)

    async def _drain(self, signum: int, server: Any) -> None:
        try:
            await registry.of_this_loop().drain(settings.STREAM_DRAIN_S)
        except Exception:
            log.exception("drain failed")
        if callable(server):
            server(signum, None)
        else:
            os.kill(os.getpid(), signum)

    async def lifespan(self, receive: Receive, send: Send) -> None:
        """Answer the server's lifespan events."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await registry.of_this_loop().drain(0)
                await registry.of_this_loop().aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return


get_resolver().url_patterns  # noqa: B018  (imports every view now, not under the first request)
_life = Life()
_edge = Edge(streams=StreamHandler(), rest=get_asgi_application())


async def application(scope: Message, receive: Receive, send: Send) -> None:
    """The ASGI application."""
    if scope["type"] == "lifespan":
        await _life.lifespan(receive, send)
        return
    _life.start()
    await _edge(scope, receive, send)


logs.redact_daphne()
