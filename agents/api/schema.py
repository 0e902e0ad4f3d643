"""How the API is described: security schemes, the problem body, and one decorator for every operation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers

from agents import problems
from agents.api.fields import Input

_IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"},
    OpenApiParameter.HEADER,
    description="Sent again within 24 hours with the same body, the first reply is given again.",
)
IF_MATCH = OpenApiParameter(
    "If-Match", OpenApiTypes.STR, OpenApiParameter.HEADER, description="The ETag that was read; 412 if it has changed."
)
_PAGING = [
    OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 25}),
    OpenApiParameter("cursor", OpenApiTypes.STR, description="`next_cursor` of the page before."),
]


class OperationSchema(AutoSchema):
    """Describes an operation by its summary; the docstrings of views are for who works on them."""

    def get_description(self) -> str:
        return ""

    def _map_basic_serializer(self, serializer: serializers.Serializer, direction: str) -> Any:
        described = super()._map_basic_serializer(serializer, direction)
        if isinstance(serializer, Input):
            described["additionalProperties"] = False
        return described


class ApiKeyScheme(OpenApiAuthenticationExtension):
    target_class = "agents.api.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API key of one workspace: `hmk_…`."}


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = "agents.api.authentication.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": "sessionid",
            "description": "A signed-in user; whatever changes something also needs `X-CSRFToken`.",
        }


class FieldErrorSerializer(serializers.Serializer):
    """What is wrong with one field."""

    pointer = serializers.CharField(help_text="a JSON pointer (RFC 6901)", allow_blank=True)
    code = serializers.CharField()
    detail = serializers.CharField()


class ProblemSerializer(serializers.Serializer):
    """An error, as RFC 9457 has it."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    instance = serializers.CharField()
    code = serializers.ChoiceField(choices=sorted(problems.CODES))
    request_id = serializers.CharField(allow_blank=True)
    errors = FieldErrorSerializer(many=True, required=False)


def operation(
    operation_id: str,
    summary: str,
    *,
    tag: str,
    response: Any,
    request: Any = None,
    status: int = 200,
    refusals: Sequence[int] = (),
    others: Mapping[int, Any] | None = None,
    parameters: Sequence[OpenApiParameter] = (),
    public: bool = False,
    repeatable: bool = False,
    paged: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Describes a view method. `refusals` are the statuses it may refuse with beyond those of its kind, `others` what
    it may answer with besides `response`, by status."""
    statuses = set(refusals)
    if not public:
        statuses |= {401, 403}
    if request is not None or repeatable:
        statuses |= {400, 413, 415}
    if repeatable:
        statuses |= {409, 422}
    if paged:
        statuses |= {400}
        response = _page_of(response)
    responses: dict[Any, Any] = {
        status: response,
        **{(refused, problems.CONTENT_TYPE): ProblemSerializer for refused in statuses},
    }
    return extend_schema(
        operation_id=operation_id,
        summary=summary,
        tags=[tag],
        request=request,
        responses=responses,
        parameters=[*parameters, *(_PAGING if paged else []), *([_IDEMPOTENCY_KEY] if repeatable else [])],
        auth=[] if public else None,
    )


def _page_of(serializer: type[serializers.Serializer]) -> serializers.Serializer:
    name = serializer.__name__.removesuffix("Serializer")
    return inline_serializer(
        f"{name}Page",
        {
            "data": serializer(many=True),
            "has_more": serializers.BooleanField(),
            "next_cursor": serializers.CharField(allow_null=True),
        },
    )
