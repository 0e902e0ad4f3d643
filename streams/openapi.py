"""The stream endpoints in the OpenAPI schema: they are no DRF views, so they are added by hand, as a hook."""

from typing import Any

_ID = {"schema": {"type": "string"}, "required": True}
_CONVERSATION = {"name": "X-Conversation-Id", "in": "header", "schema": {"type": "string"}}
_DIALECT = {
    "name": "X-Stream-Dialect",
    "in": "header",
    "description": "Chooses the dialect of the answer; `?dialect=` does the same. Without it the body decides.",
    "schema": {"type": "string", "enum": ["plain", "ui", "json"]},
}
_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "oneOf": [
                    {
                        "type": "object",
                        "required": ["message"],
                        "properties": {"message": {"type": "string"}, "id": {"type": "string", "maxLength": 128}},
                    },
                    {
                        "type": "object",
                        "required": ["messages"],
                        "description": "As `useChat` sends it, or with OpenAI's role and content.",
                        "properties": {
                            "messages": {"type": "array", "maxItems": 500, "items": {"type": "object"}},
                            "id": {"type": "string", "maxLength": 128},
                        },
                    },
                    {"type": "array", "maxItems": 500, "items": {"type": "object"}},
                ]
            }
        },
        "text/plain": {"schema": {"type": "string"}},
    },
}
_PROBLEM = {
    "description": "A problem (RFC 9457); `code` and, for 400, `errors` with JSON pointers say which.",
    "content": {"application/problem+json": {"schema": {"type": "object"}}},
}
_STREAM = {
    "description": (
        "Server-sent events. `plain`: `start`, `text-delta`, `notice`, `error`, and `done` last, each with an `id`. "
        "`ui`: AI SDK UI message stream v1. A comment line at least every 15 s."
    ),
    "content": {
        "text/event-stream": {"schema": {"type": "string"}},
        "application/json": {"schema": {"type": "object"}},
    },
}
_REFUSALS = dict.fromkeys(("400", "401", "403", "404", "413", "422", "503"), _PROBLEM)
_DOORS: list[tuple[str, str, list[dict[str, list[str]]]]] = [
    ("/api/streams/{workspace}/{agent}/{secret}", "with_secret_in_path", []),
    ("/api/streams/{workspace}/{agent}", "with_secret_in_header", [{"streamSecret": []}]),
    ("/api/streams/{workspace}/{agent}/test", "as_member", [{"apiKey": []}, {"session": []}]),
]


def _parameters(path: str) -> list[dict[str, Any]]:
    return [{"name": part[1:-1], "in": "path", **_ID} for part in path.split("/") if part.startswith("{")]


def add_streams(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A post-processing hook of drf-spectacular."""
    schemes = result.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["streamSecret"] = {"type": "http", "scheme": "bearer", "description": "A stream secret of the agent."}
    for path, name, security in _DOORS:
        common: dict[str, Any] = {"tags": ["streams"], "security": [s for s in security if set(s) <= set(schemes)]}
        result["paths"][path] = {
            "post": {
                **common,
                "operationId": f"streams_open_{name}",
                "summary": "Ask the agent and stream its answer",
                "parameters": [*_parameters(path), _CONVERSATION, _DIALECT],
                "requestBody": _BODY,
                "responses": {"200": _STREAM, **_REFUSALS},
            }
        }
        stream, stop = f"{path}/{{chat}}/stream", f"{path}/{{chat}}/stop"
        after = {"name": "Last-Event-ID", "in": "header", "schema": {"type": "integer"}}
        result["paths"][stream] = {
            "get": {
                **common,
                "operationId": f"streams_reattach_{name}",
                "summary": "Go on reading a running turn; 204 where there is none",
                "parameters": [*_parameters(stream), after, _DIALECT],
                "responses": {"200": _STREAM, "204": {"description": "Nothing runs."}, **_REFUSALS},
            }
        }
        result["paths"][stop] = {
            "post": {
                **common,
                "operationId": f"streams_stop_{name}",
                "summary": "Stop the running turn, here and at the provider",
                "parameters": _parameters(stop),
                "responses": {"200": {"description": "`{stopped, turn_id}`"}, **_REFUSALS},
            }
        }
    return result
