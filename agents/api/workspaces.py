"""`/workspaces`, one workspace and its members."""

from typing import ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from agents import workspaces
from agents.api import access
from agents.api.authentication import ApiCaller
from agents.api.base import RestView, WorkspaceView, idempotent
from agents.api.fields import validated
from agents.api.pagination import BY_ID, BY_MEMBERSHIP, page
from agents.api.schema import operation
from agents.api.serializers import MemberSerializer, WorkspaceInput, WorkspaceSerializer
from agents.models import Workspace
from agents.permissions import Action


class WorkspacesView(RestView):
    @operation("listWorkspaces", "The caller's workspaces", tag="workspaces", response=WorkspaceSerializer, paged=True)
    def get(self, request: Request) -> Response:
        access.require_scope(request.user, Action.READ)
        if isinstance(request.user, ApiCaller):
            rows = Workspace.objects.present().filter(pk=request.user.workspace_id)
        else:
            rows = Workspace.objects.of(request.user)
        return Response(page(request, rows.select_related("subscription"), BY_ID, WorkspaceSerializer))

    @operation(
        "createWorkspace",
        "Create a workspace, with no credits yet",
        tag="workspaces",
        request=WorkspaceInput,
        response=WorkspaceSerializer,
        status=201,
        refusals=[402],
        repeatable=True,
    )
    @idempotent
    def post(self, request: Request) -> Response:
        owner = access.require_user(request.user)
        workspace = workspaces.create_workspace(owner, **validated(WorkspaceInput, request.data))
        return Response(WorkspaceSerializer(workspace).data, status=201)


class WorkspaceDetailView(WorkspaceView):
    actions: ClassVar = {
        "GET": Action.READ,
        "PATCH": Action.CHANGE_WORKSPACE,
        "DELETE": Action.DELETE_WORKSPACE,
    }

    @operation("getWorkspace", "A workspace", tag="workspaces", response=WorkspaceSerializer, refusals=[404])
    def get(self, request: Request, workspace: str) -> Response:
        return Response(WorkspaceSerializer(self.workspace).data)

    @operation(
        "changeWorkspace",
        "Rename a workspace",
        tag="workspaces",
        request=WorkspaceInput,
        response=WorkspaceSerializer,
        refusals=[404],
    )
    def patch(self, request: Request, workspace: str) -> Response:
        fields = validated(WorkspaceInput, request.data, partial=True)
        renamed = workspaces.rename_workspace(self.workspace, **fields) if fields else self.workspace
        return Response(WorkspaceSerializer(renamed).data)

    @operation(
        "deleteWorkspace",
        "Delete a workspace; its ledger stays",
        tag="workspaces",
        response=None,
        status=204,
        refusals=[404],
    )
    def delete(self, request: Request, workspace: str) -> Response:
        workspaces.delete_workspace(self.workspace)
        return Response(status=204)


class MembersView(WorkspaceView):
    actions: ClassVar = {"GET": Action.READ}

    @operation(
        "listMembers",
        "Who works in a workspace",
        tag="workspaces",
        response=MemberSerializer,
        refusals=[404],
        paged=True,
    )
    def get(self, request: Request, workspace: str) -> Response:
        rows = self.workspace.memberships.select_related("user")
        return Response(page(request, rows, BY_MEMBERSHIP, MemberSerializer))
