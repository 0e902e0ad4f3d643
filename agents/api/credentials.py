"""Stream secrets of an agent and API keys of a workspace: listed without their secret, which is shown once."""

from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from agents import secrets
from agents.api import access
from agents.api.authentication import ApiCaller
from agents.api.base import AgentView, WorkspaceView, idempotent
from agents.api.fields import validated
from agents.api.pagination import BY_ID, page
from agents.api.schema import operation
from agents.api.serializers import (
    ApiKeyInput,
    ApiKeySerializer,
    NewApiKeySerializer,
    NewStreamSecretSerializer,
    RotateInput,
    StreamSecretInput,
    StreamSecretSerializer,
)
from agents.models import ApiKey, StreamSecret, User
from agents.permissions import Action
from billing import ids


class StreamSecretsView(AgentView):
    actions: ClassVar = {"GET": Action.MANAGE_SECRETS, "POST": Action.MANAGE_SECRETS}

    @operation(
        "listStreamSecrets",
        "The stream secrets of an agent that are not revoked",
        tag="secrets",
        response=StreamSecretSerializer,
        refusals=[404],
        paged=True,
    )
    def get(self, request: Request, workspace: str, agent: str) -> Response:
        rows = self.agent.stream_secrets.filter(revoked_at__isnull=True)
        return Response(page(request, rows, BY_ID, StreamSecretSerializer))

    @operation(
        "createStreamSecret",
        "Create a stream secret; the reply alone shows it",
        tag="secrets",
        request=StreamSecretInput,
        response=NewStreamSecretSerializer,
        status=201,
        refusals=[402, 404],
        repeatable=True,
    )
    @idempotent
    def post(self, request: Request, workspace: str, agent: str) -> Response:
        return _shown_once(
            StreamSecretSerializer,
            secrets.create_stream_secret(self.agent, **validated(StreamSecretInput, request.data)),
        )


class _StreamSecretView(AgentView):
    """`self.secret` is a secret of the agent that is not revoked."""

    secret: StreamSecret

    def initial(self, request: Request, *args: object, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        found = None
        if ids.has_prefix(kwargs["secret"], "sec"):
            found = self.agent.stream_secrets.filter(pk=kwargs["secret"], revoked_at__isnull=True).first()
        if found is None:
            raise access.not_found()
        found.agent = self.agent
        self.secret = found


class StreamSecretDetailView(_StreamSecretView):
    actions: ClassVar = {"DELETE": Action.MANAGE_SECRETS}

    @operation("revokeStreamSecret", "Revoke a stream secret", tag="secrets", response=None, status=204, refusals=[404])
    def delete(self, request: Request, workspace: str, agent: str, secret: str) -> Response:
        secrets.revoke(self.secret)
        return Response(status=204)


class StreamSecretRotationView(_StreamSecretView):
    actions: ClassVar = {"POST": Action.MANAGE_SECRETS}

    @operation(
        "rotateStreamSecret",
        "Replace a stream secret; the old one works for `overlap_s` more",
        tag="secrets",
        request=RotateInput,
        response=NewStreamSecretSerializer,
        status=201,
        refusals=[402, 404],
        repeatable=True,
    )
    @idempotent
    def post(self, request: Request, workspace: str, agent: str, secret: str) -> Response:
        return _shown_once(
            StreamSecretSerializer,
            secrets.rotate_stream_secret(self.secret, **validated(RotateInput, request.data)),
        )


class ApiKeysView(WorkspaceView):
    actions: ClassVar = {"GET": Action.MANAGE_KEYS, "POST": Action.MANAGE_KEYS}

    @operation(
        "listApiKeys",
        "The API keys of a workspace that are not revoked",
        tag="keys",
        response=ApiKeySerializer,
        refusals=[404],
        paged=True,
    )
    def get(self, request: Request, workspace: str) -> Response:
        rows = self.workspace.api_keys.filter(revoked_at__isnull=True)
        return Response(page(request, rows, BY_ID, ApiKeySerializer))

    @operation(
        "createApiKey",
        "Create an API key; the reply alone shows it",
        tag="keys",
        request=ApiKeyInput,
        response=NewApiKeySerializer,
        status=201,
        refusals=[402, 404],
        repeatable=True,
    )
    @idempotent
    def post(self, request: Request, workspace: str) -> Response:
        fields = validated(ApiKeyInput, request.data)
        made = secrets.create_api_key(self.workspace, created_by=_user(request), **fields)
        return _shown_once(ApiKeySerializer, made)


class _ApiKeyView(WorkspaceView):
    """`self.key` is a key of the workspace that is not revoked."""

    key: ApiKey

    def initial(self, request: Request, *args: object, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        found = None
        if ids.has_prefix(kwargs["key"], "key"):
            found = self.workspace.api_keys.filter(pk=kwargs["key"], revoked_at__isnull=True).first()
        if found is None:
            raise access.not_found()
        found.workspace = self.workspace
        self.key = found


class ApiKeyDetailView(_ApiKeyView):
    actions: ClassVar = {"DELETE": Action.MANAGE_KEYS}

    @operation("revokeApiKey", "Revoke an API key", tag="keys", response=None, status=204, refusals=[404])
    def delete(self, request: Request, workspace: str, key: str) -> Response:
        secrets.revoke(self.key)
        return Response(status=204)


class ApiKeyRotationView(_ApiKeyView):
    actions: ClassVar = {"POST": Action.MANAGE_KEYS}

    @operation(
        "rotateApiKey",
        "Replace an API key; the old one works for `overlap_s` more",
        tag="keys",
        request=RotateInput,
        response=NewApiKeySerializer,
        status=201,
        refusals=[402, 404],
        repeatable=True,
    )
    @idempotent
    def post(self, request: Request, workspace: str, key: str) -> Response:
        fields = validated(RotateInput, request.data)
        return _shown_once(ApiKeySerializer, secrets.rotate_api_key(self.key, created_by=_user(request), **fields))


def _shown_once(
    serializer: type[StreamSecretSerializer | ApiKeySerializer], made: secrets.NewStreamSecret | secrets.NewApiKey
) -> Response:
    return Response({**serializer(made.stored).data, "secret": made.plain}, status=201)


def _user(request: Request) -> User | None:
    return None if isinstance(request.user, ApiCaller) else request.user
