"""Stream secrets and API keys: making, rotating and revoking them. The plain text is returned once and never stored."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from agents import vault
from agents.models import Agent, ApiKey, StreamSecret, User, Workspace
from agents.problems import Problem
from agents.workspaces import require_room

DEFAULT_OVERLAP_S = 86_400
LONGEST_OVERLAP_S = 604_800
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])"
_EXACT = re.compile(rf"(https?)://({_HOST})(?::(\d{{1,5}}))?")
_WILDCARD = re.compile(rf"(https)://(\*\.{_LABEL}(?:\.{_LABEL})+)(?::(\d{{1,5}}))?")
_DEFAULT_PORT = {"http": "80", "https": "443"}


class NewStreamSecret(NamedTuple):
    """The stored secret and its plain text, which is shown once."""

    stored: StreamSecret
    plain: str


class NewApiKey(NamedTuple):
    """The stored key and its plain text, which is shown once."""

    stored: ApiKey
    plain: str


def origin(text: str) -> str:
    """An allowed origin as browsers write it: lower case, without a default port. Raises ValueError on anything but
    `http(s)://host[:port]`, `https://*.example.com` and `*`."""
    if text == "*":
        return text
    match = _EXACT.fullmatch(text.lower()) or _WILDCARD.fullmatch(text.lower())
    if match is None or (match[3] and not 0 < int(match[3]) < 65_536):
        raise ValueError(
            "An origin reads https://host, http://host:port, https://*.example.com or *, without a path and in ASCII."
        )
    scheme, host, port = match.groups()
    return f"{scheme}://{host}" if port in (None, _DEFAULT_PORT[scheme]) else f"{scheme}://{host}:{int(port)}"


def create_stream_secret(
    agent: Agent, *, name: str, allowed_origins: Sequence[str] = (), expires_at: datetime | None = None
) -> NewStreamSecret:
    """A secret that opens streams of the agent. Raises Problem `plan_limit_reached`."""
    with transaction.atomic():
        require_room(agent.workspace.subscription_id, "keys")
        return _store_stream_secret(agent, name, list(allowed_origins), expires_at, lineage=None)


def create_api_key(
    workspace: Workspace,
    *,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None = None,
    created_by: User | None = None,
) -> NewApiKey:
    """A key that calls the REST API for the workspace. Raises Problem `plan_limit_reached`."""
    with transaction.atomic():
        require_room(workspace.subscription_id, "keys")
        return _store_api_key(workspace, name, list(scopes), expires_at, created_by)


def rotate_stream_secret(secret: StreamSecret, *, overlap_s: int = DEFAULT_OVERLAP_S) -> NewStreamSecret:
    """A new secret with the old one's name, origins and chats; the old one opens streams for `overlap_s` more.

    Raises Problem `conflict` where the old one is revoked or expired, and `plan_limit_reached` where more than one
    older secret for each that the plan allows is still in its overlap.
    """
    with transaction.atomic():
        require_room(secret.agent.workspace.subscription_id, "keys", times=2)
        old = StreamSecret.objects.select_for_update(of=("self",)).select_related("agent").get(pk=secret.pk)
        expires_at = _end(old, overlap_s)
        return _store_stream_secret(old.agent, old.name, old.allowed_origins, expires_at, lineage=old.lineage)


def rotate_api_key(key: ApiKey, *, overlap_s: int = DEFAULT_OVERLAP_S, created_by: User | None = None) -> NewApiKey:
    """A new key with the old one's name and scopes; the old one works for `overlap_s` more. Raises as
    `rotate_stream_secret`."""
    with transaction.atomic():
        require_room(key.workspace.subscription_id, "keys", times=2)
        old = ApiKey.objects.select_for_update(of=("self",)).select_related("workspace", "created_by").get(pk=key.pk)
        expires_at = _end(old, overlap_s)
        return _store_api_key(old.workspace, old.name, old.scopes, expires_at, created_by or old.created_by)


def revoke(credential: StreamSecret | ApiKey) -> None:
    """From now on it opens nothing. Revoking twice keeps the first time."""
    type(credential).objects.filter(pk=credential.pk, revoked_at__isnull=True).update(revoked_at=timezone.now())


def note_use(key: ApiKey) -> None:
    """Write down that the key was used, at most once a minute."""
    now = timezone.now()
    if key.last_used_at is None or key.last_used_at < now - timedelta(minutes=1):
        stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - timedelta(minutes=1))
        ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)


def _end(old: StreamSecret | ApiKey, overlap_s: int) -> datetime | None:
    """Let `old` expire after the overlap, unless it does so earlier. Returns when it would have expired by itself."""
    now = timezone.now()
    planned = old.expires_at
    if old.revoked_at is not None or (planned is not None and planned <= now):
        raise Problem("conflict", "It is revoked or has expired; create a new one instead.")
    ends = now + timedelta(seconds=overlap_s)
    old.expires_at = ends if planned is None else min(planned, ends)
    old.save(update_fields=["expires_at"])
    return planned


def _store_stream_secret(
    agent: Agent, name: str, allowed_origins: list[str], expires_at: datetime | None, *, lineage: str | None
) -> NewStreamSecret:
    minted = vault.mint(vault.STREAM_SECRET)
    stored = StreamSecret(
        agent=agent,
        name=name,
        allowed_origins=allowed_origins,
        expires_at=expires_at,
        public_id=minted.public_id,
        digest=minted.digest,
    )
    stored.lineage = lineage or stored.pk
    stored.save(force_insert=True)
    return NewStreamSecret(stored, minted.plain)


def _store_api_key(
    workspace: Workspace, name: str, scopes: list[str], expires_at: datetime | None, created_by: User | None
) -> NewApiKey:
    minted = vault.mint(vault.API_KEY)
    stored = ApiKey.objects.create(
        workspace=workspace,
        name=name,
        scopes=scopes,
        expires_at=expires_at,
        created_by=created_by,
        public_id=minted.public_id,
        digest=minted.digest,
    )
    return NewApiKey(stored, minted.plain)
