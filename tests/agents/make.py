"""What the tests of the REST API and the admin begin with: users, workspaces and callers."""

import itertools
from typing import Any

from django.http import HttpResponse
from django.test import Client

from agents import secrets, workspaces
from agents.models import Agent, ApiKey, Membership, User, Workspace
from billing import ledger
from billing.models import Plan, Subscription

USD = 1_000_000_000
_numbers = itertools.count(1)


class Api:
    """Calls the REST API as somebody; paths are relative to `/api/`, bodies are JSON values."""

    def __init__(self, client: Client, **headers: str) -> None:
        self.client = client
        self.headers = headers

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> HttpResponse:
        content = {} if body is None else {"data": body, "content_type": "application/json"}
        return getattr(self.client, method.lower())(f"/api/{path}", **content, headers={**self.headers, **headers})

    def get(self, path: str, **headers: str) -> HttpResponse:
        return self.call("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> HttpResponse:
        return self.call("POST", path, {} if body is None else body, **headers)

    def patch(self, path: str, body: Any, **headers: str) -> HttpResponse:
        return self.call("PATCH", path, body, **headers)

    def delete(self, path: str, **headers: str) -> HttpResponse:
        return self.call("DELETE", path, **headers)


def user(email: str | None = None, *, plan: str = "pro") -> User:
    """A user with a subscription."""
    made = User.objects.create_user(email or f"user{next(_numbers)}@example.com")
    Subscription.objects.create(owner=made, plan=Plan.objects.get(pk=plan))
    return made


def workspace(owner: User | None = None, *, usd: int = 0) -> Workspace:
    """A workspace with as much credit."""
    made = workspaces.create_workspace(owner or user(), name=f"Workspace {next(_numbers)}")
    if usd:
        ledger.change_credits(account=made.pk, amount_nano=usd * USD, reason="test")
    return made


def member(of: Workspace, role: str) -> User:
    """A user with that role in the workspace."""
    made = user()
    Membership.objects.create(workspace=of, user=made, role=role)
    return made


def agent(of: Workspace, **fields: Any) -> Agent:
    return Agent.objects.create(workspace=of, **{"name": "Helper", "model": "simulated/echo-1", **fields})


def owner(of: Workspace) -> User:
    return of.memberships.get(role="owner").user


def session(who: User) -> Api:
    """Calls with that user's session cookie."""
    client = Client()
    client.force_login(who)
    return Api(client)


def bearer(of: Workspace, *scopes: str, **fields: Any) -> tuple[Api, ApiKey]:
    """Calls with a new API key of the workspace that has those scopes."""
    made = secrets.create_api_key(of, name="key", scopes=scopes, **fields)
    return Api(Client(), Authorization=f"Bearer {made.plain}"), made.stored


def anonymous(**headers: str) -> Api:
    return Api(Client(), **headers)
