"""`/workspaces/{workspace}/agents`."""

import re
from typing import ClassVar

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from agents import agents
from agents.api.base import AgentView, WorkspaceView, idempotent
from agents.api.fields import validated
from agents.api.pagination import BY_ID, page
from agents.api.schema import IF_MATCH, operation
from agents.api.serializers import AgentInput, AgentSerializer
from agents.models import Agent
from agents.permissions import Action

_STRONG_TAG = re.compile(r'(?<!W/)"(\d{1,10})"')


class AgentsView(WorkspaceView):
    actions: ClassVar = {"GET": Action.READ, "POST": Action.CHANGE_AGENTS}

    @operation(
        "listAgents", "The agents of a workspace", tag="agents", response=AgentSerializer, refusals=[404], paged=True
    )
    def get(self, request: Request, workspace: str) -> Response:
        rows = Agent.objects.present().filter(workspace=self.workspace)
        return Response(page(request, rows, BY_ID, AgentSerializer))

    @operation(
        "createAgent",
        "Create an agent",
        tag="agents",
        request=AgentInput,
        response=AgentSerializer,
        status=201,
        refusals=[402, 404],
        repeatable=True,
    )
    @idempotent
    def post(self, request: Request, workspace: str) -> Response:
        fields = {"model": settings.DEFAULT_MODEL, **validated(AgentInput, request.data)}
        return _reply(agents.create_agent(self.workspace, fields), status=201)


class AgentDetailView(AgentView):
    actions: ClassVar = {"GET": Action.READ, "PATCH": Action.CHANGE_AGENTS, "DELETE": Action.CHANGE_AGENTS}

    @operation("getAgent", "An agent; its version is the ETag", tag="agents", response=AgentSerializer, refusals=[404])
    def get(self, request: Request, workspace: str, agent: str) -> Response:
        return _reply(self.agent)

    @operation(
        "changeAgent",
        "Change some fields of an agent",
        tag="agents",
        request=AgentInput,
        response=AgentSerializer,
        refusals=[404, 412],
        parameters=[IF_MATCH],
    )
    def patch(self, request: Request, workspace: str, agent: str) -> Response:
        fields = validated(AgentInput, request.data, partial=True)
        return _reply(agents.change_agent(self.agent, fields, versions=_versions(request)))

    @operation(
        "deleteAgent",
        "Delete an agent and revoke its stream secrets",
        tag="agents",
        response=None,
        status=204,
        refusals=[404, 412],
        parameters=[IF_MATCH],
    )
    def delete(self, request: Request, workspace: str, agent: str) -> Response:
        agents.delete_agent(self.agent, versions=_versions(request))
        return Response(status=204)


def _reply(agent: Agent, status: int = 200) -> Response:
    return Response(AgentSerializer(agent).data, status=status, headers={"ETag": f'"{agent.version}"'})


def _versions(request: Request) -> set[int] | None:
    """The versions that `If-Match` names; None where it is absent or `*`. A weak tag matches nothing (RFC 9110)."""
    header = request.headers.get("If-Match")
    if header is None or header.strip() == "*":
        return None
    return {int(version) for version in _STRONG_TAG.findall(header)}
