"""Every REST route of a workspace, filled with real things, so that no route escapes the tests of access."""

from typing import NamedTuple

from agents import secrets
from agents.api import urls as agents_urls
from agents.api.base import WorkspaceView
from agents.models import Workspace
from streams import api_urls as streams_urls
from streams.models import Conversation
from tests.agents import make

BODIES = {
    "workspaces/<str:workspace>": {"PATCH": {"name": "Renamed"}},
    "workspaces/<str:workspace>/agents": {"POST": {"name": "New"}},
    "workspaces/<str:workspace>/agents/<str:agent>": {"PATCH": {"name": "Renamed"}},
    "workspaces/<str:workspace>/agents/<str:agent>/stream-secrets": {"POST": {"name": "New"}},
    "workspaces/<str:workspace>/api-keys": {"POST": {"name": "New", "scopes": ["read"]}},
}


class Operation(NamedTuple):
    """A method of a route, such as `GET workspaces/<str:workspace>`."""

    method: str
    pattern: str

    def path(self, parts: dict[str, str]) -> str:
        filled = self.pattern
        for name, value in parts.items():
            filled = filled.replace(f"<str:{name}>", value)
        return filled

    @property
    def body(self) -> dict[str, object] | None:
        if self.method in ("GET", "DELETE"):
            return None
        return BODIES.get(self.pattern, {}).get(self.method, {})


def operations() -> list[Operation]:
    """Every method of every route below a workspace."""
    return [
        Operation(method, str(route.pattern))
        for route in [*agents_urls.urlpatterns, *streams_urls.urlpatterns]
        if issubclass(route.callback.cls, WorkspaceView)
        for method in route.callback.cls.actions
    ]


def parts(workspace: Workspace) -> dict[str, str]:
    """New things of the workspace, by the name that routes give them."""
    agent = make.agent(workspace)
    conversation = Conversation.objects.create(workspace=workspace, agent=agent, scope="test")
    return {
        "workspace": workspace.pk,
        "agent": agent.pk,
        "secret": secrets.create_stream_secret(agent, name="secret").stored.pk,
        "key": secrets.create_api_key(workspace, name="key", scopes=["read"]).stored.pk,
        "conversation": conversation.pk,
    }
