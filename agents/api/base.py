"""What every REST view shares: strict JSON in, JSON out, access by workspace, POSTs that may be repeated."""

import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from rest_framework.exceptions import MethodNotAllowed, ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser, JSONParser
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents import idempotency
from agents.api import access
from agents.api.schema import OperationSchema
from agents.models import Agent, Workspace
from agents.permissions import Action
from agents.problems import Problem
from billing import ids

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_KEPT_HEADERS = ("ETag", "Location")


class StrictJSONParser(JSONParser):
    """JSON; one nested deeper than Python can follow is as malformed as any other."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> object:
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError("The JSON is nested too deeply.") from None


class AlwaysJSON(BaseContentNegotiation):
    """The API speaks JSON, whatever `Accept` says."""

    def select_parser(self, request: Request, parsers: list[BaseParser]) -> BaseParser | None:
        media_type = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == media_type), None)

    def select_renderer(
        self, request: Request, renderers: list[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


class RestView(APIView):
    """A view that needs a caller but no workspace."""

    parser_classes = [StrictJSONParser]
    content_negotiation_class = AlwaysJSON
    schema = OperationSchema()
    http_method_names = ["get", "head", "post", "patch", "delete"]  # no preflights: this API is called by servers

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        super().initial(request, *args, **kwargs)
        request._request.body  # noqa: B018  (read within DATA_UPLOAD_MAX_MEMORY_SIZE, or refused)

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)
        response.headers.setdefault("Cache-Control", "no-store")
        return response


class WorkspaceView(RestView):
    """A view under `/workspaces/{workspace}`: who may do what is told by `actions`, and checked before anything else.

    `self.workspace` is the workspace once the method runs.
    """

    actions: ClassVar[Mapping[str, Action]]
    workspace: Workspace

    def initial(self, request: Request, *args: object, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        action = self.actions.get("GET" if request.method == "HEAD" else request.method)
        if action is None:
            raise MethodNotAllowed(request.method)
        self.workspace = access.workspace_for(request.user, kwargs["workspace"], action)


class AgentView(WorkspaceView):
    """A view under `…/agents/{agent}`; `self.agent` is a present agent of the workspace."""

    agent: Agent

    def initial(self, request: Request, *args: object, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        agent = None
        if ids.has_prefix(kwargs["agent"], "ag"):
            agent = Agent.objects.present().filter(workspace=self.workspace, pk=kwargs["agent"]).first()
        if agent is None:
            raise access.not_found()
        agent.workspace = self.workspace
        self.agent = agent


def idempotent(post: Callable[..., Response]) -> Callable[..., Response]:
    """Lets a POST bear an `Idempotency-Key`: sent again by the same caller, it gets its first reply again."""

    @functools.wraps(post)
    def handler(view: RestView, request: Request, **kwargs: object) -> Response:
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return post(view, request, **kwargs)
        if _IDEMPOTENCY_KEY.fullmatch(key) is None:
            raise Problem("invalid", "An Idempotency-Key is 1 to 255 visible ASCII characters.")

        def work() -> idempotency.Reply:
            response = post(view, request, **kwargs)
            headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
            return idempotency.Reply(response.status_code, json.loads(JSONRenderer().render(response.data)), headers)

        reply = idempotency.once(caller=request.user.id, key=key, request_digest=_digest(request), work=work)
        headers = {**reply.headers, "Idempotent-Replayed": "true"} if reply.replayed else reply.headers
        return Response(reply.body, status=reply.status, headers=headers)

    return handler


def _digest(request: Request) -> bytes:
    """What tells two requests apart: path and body, not how the JSON was spaced or ordered."""
    body = json.dumps(request.data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{request.path.rstrip('/')}\n{body}".encode()).digest()
