"""Errors as every door of the product tells them: `application/problem+json` (RFC 9457), one table of codes.

Anything anticipated is raised as a `Problem`; anything else is an `internal_error` whose text stays in the log and
whose request id leads there.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog
from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpResponse
from rest_framework import exceptions
from rest_framework.response import Response

log = structlog.get_logger(__name__)

CODES: dict[str, tuple[int, str]] = {
    "invalid": (400, "The request is not valid"),
    "unauthenticated": (401, "Credentials are missing or not valid"),
    "plan_limit_reached": (402, "The plan's limit is reached"),
    "insufficient_credits": (402, "There is not enough credit"),
    "spending_limit_exceeded": (402, "A spending limit is reached"),
    "permission_denied": (403, "This is not allowed"),
    "session_invalid": (403, "The session is missing or not valid"),
    "origin_not_allowed": (403, "This origin is not allowed"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "This method is not allowed here"),
    "not_acceptable": (406, "No such representation is served"),
    "conflict": (409, "This conflicts with what is there"),
    "precondition_failed": (412, "It was changed in the meantime"),
    "too_large": (413, "The request is too large"),
    "unsupported_media_type": (415, "This content type is not accepted"),
    "unprocessable": (422, "This cannot be done"),
    "prompt_too_large": (422, "The prompt is too large"),
    "rate_limited": (429, "Too many requests"),
    "internal_error": (500, "Something went wrong on our side"),
    "provider_error": (502, "The model's provider failed"),
    "unavailable": (503, "Not available at the moment"),
    "provider_timeout": (504, "The model's provider did not answer in time"),
}
CONTENT_TYPE = "application/problem+json"


class FieldError(NamedTuple):
    """What is wrong with one field: a JSON pointer (RFC 6901), a code and a sentence."""

    pointer: str
    code: str
    detail: str


class Problem(Exception):
    """An anticipated refusal; `code` is one of CODES, `extra` are members of its own kind."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    @property
    def status(self) -> int:
        return CODES[self.code][0]


def body(problem: Problem, *, instance: str, request_id: str) -> dict[str, object]:
    """The problem as RFC 9457 members and ours."""
    status, title = CODES[problem.code]
    members: dict[str, object] = {
        **problem.extra,
        "type": f"urn:helpmaton:problem:{problem.code}",
        "title": title,
        "status": status,
        "detail": problem.detail,
        "instance": instance,
        "code": problem.code,
        "request_id": request_id,
    }
    if problem.errors:
        members["errors"] = [error._asdict() for error in problem.errors]
    return members


def encode(problem: Problem, *, instance: str, request_id: str) -> bytes:
    """The problem as bytes of JSON."""
    return msgspec.json.encode(body(problem, instance=instance, request_id=request_id))


def respond(problem: Problem, *, instance: str, request_id: str) -> HttpResponse:
    """The problem as Django's response, for views outside DRF."""
    content = encode(problem, instance=instance, request_id=request_id)
    return HttpResponse(content, status=problem.status, content_type=CONTENT_TYPE, headers=problem.headers)


def handle(error: Exception, context: Mapping[str, Any]) -> Response:
    """DRF's exception handler."""
    request = context["request"]
    problem = _from_exception(error)
    if problem.code == "internal_error":
        log.error("internal error", exc_info=error, path=request.path)
    response = Response(
        body(problem, instance=request.path, request_id=request.headers.get("X-Request-Id", "")),
        status=problem.status,
        headers=problem.headers,
    )
    response.content_type = CONTENT_TYPE
    return response


def _from_exception(error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case exceptions.ValidationError():
            return Problem("invalid", "Some fields are not valid.", errors=_field_errors(error.detail))
        case exceptions.ParseError():
            return Problem("invalid", "The body is not valid JSON.")
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            return Problem("unauthenticated", str(error.detail), headers={"WWW-Authenticate": "Bearer"})
        case exceptions.PermissionDenied():
            return Problem("permission_denied", str(error.detail))
        case exceptions.NotFound() | Http404():
            return Problem("not_found", "There is nothing here, or you may not see it.")
        case exceptions.MethodNotAllowed():
            return Problem("method_not_allowed", str(error.detail))
        case exceptions.NotAcceptable():
            return Problem("not_acceptable", str(error.detail))
        case exceptions.UnsupportedMediaType():
            return Problem("unsupported_media_type", str(error.detail))
        case RequestDataTooBig():
            return Problem("too_large", "The body is larger than 1 MiB.")
    return Problem("internal_error", "The error is logged under the request id.")


def _field_errors(detail: object, pointer: str = "") -> list[FieldError]:
    """DRF's nested error details as a flat list with JSON pointers."""
    if isinstance(detail, Mapping):
        found = []
        for key, value in detail.items():
            step = "" if key == "non_field_errors" else "/" + str(key).replace("~", "~0").replace("/", "~1")
            found += _field_errors(value, pointer + step)
        return found
    if isinstance(detail, list):
        found = []
        for position, value in enumerate(detail):
            nested = isinstance(value, Mapping | list)
            found += _field_errors(value, f"{pointer}/{position}" if nested else pointer)
        return found
    return [FieldError(pointer, str(getattr(detail, "code", "invalid")), str(detail))]
