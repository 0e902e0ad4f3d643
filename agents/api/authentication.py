"""Who calls: an API key as `Authorization: Bearer hmk_…`, or a user by session cookie with CSRF protection."""

from typing import NamedTuple

from django.utils import timezone
from rest_framework import authentication, exceptions
from rest_framework.request import Request

from agents import secrets, vault
from agents.models import ApiKey, User


class ApiCaller(NamedTuple):
    """What `request.user` is when an API key calls: it acts for one workspace, within its scopes."""

    key: ApiKey

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def id(self) -> str:
        return self.key.pk

    @property
    def workspace_id(self) -> str:
        return self.key.workspace_id

    @property
    def scopes(self) -> tuple[str, ...]:
        return tuple(self.key.scopes)


class ApiKeyAuthentication(authentication.BaseAuthentication):
    """Bearer keys. A malformed one is refused without a query, by its checksum."""

    def authenticate(self, request: Request) -> tuple[ApiCaller, None] | None:
        header = request.headers.get("Authorization")
        if header is None:
            return None
        scheme, _, plain = header.partition(" ")
        public_id = vault.public_id(plain.strip(), vault.API_KEY) if scheme.lower() == "bearer" else None
        if public_id is None:
            raise exceptions.AuthenticationFailed("This is not an API key.")
        key = ApiKey.objects.select_related("workspace").filter(public_id=public_id).first()
        if key is None or not vault.matches(plain.strip(), key.digest) or not _opens(key):
            raise exceptions.AuthenticationFailed("The API key is unknown, revoked or expired.")
        secrets.note_use(key)
        return ApiCaller(key), None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class SessionAuthentication(authentication.SessionAuthentication):
    """Signed-in users, CSRF token required on everything that changes something."""

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        return super().authenticate(request)


def _opens(key: ApiKey) -> bool:
    live = key.revoked_at is None and (key.expires_at is None or key.expires_at > timezone.now())
    return live and key.workspace.deleted_at is None
