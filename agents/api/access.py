"""Whether a caller may do something in a workspace. What a caller may not see does not exist for them (404)."""

from agents import permissions
from agents.api.authentication import ApiCaller
from agents.models import Membership, User, Workspace
from agents.permissions import Action
from agents.problems import Problem
from billing import ids

Caller = ApiCaller | User


def workspace_for(caller: Caller, workspace_id: str, action: Action) -> Workspace:
    """The workspace, if the caller may do that there. Raises Problem `not_found` and `permission_denied`."""
    if not ids.has_prefix(workspace_id, "ws"):
        raise not_found()
    if isinstance(caller, ApiCaller):
        # Authentication has read the key's own workspace and seen that it is not deleted.
        if caller.workspace_id != workspace_id:
            raise not_found()
        workspace, may = caller.key.workspace, permissions.scopes_may(caller.scopes, action)
    else:
        membership = (
            Membership.objects.select_related("workspace")
            .filter(user=caller, workspace_id=workspace_id, workspace__deleted_at__isnull=True)
            .first()
        )
        if membership is None:
            raise not_found()
        workspace, may = membership.workspace, permissions.role_may(membership.role, action)
    if not may:
        raise _denied(caller)
    return workspace


def require_scope(caller: Caller, action: Action) -> None:
    """For what belongs to no workspace: any user may, a key within its scopes. Raises Problem `permission_denied`."""
    if isinstance(caller, ApiCaller) and not permissions.scopes_may(caller.scopes, action):
        raise _denied(caller)


def require_user(caller: Caller) -> User:
    """The signed-in user. Raises Problem `permission_denied` where an API key calls."""
    if isinstance(caller, ApiCaller):
        raise Problem("permission_denied", "An API key belongs to one workspace; this takes a signed-in user.")
    return caller


def not_found() -> Problem:
    """The same refusal for what is not there and what is not the caller's."""
    return Problem("not_found", "There is nothing here, or you may not see it.")


def _denied(caller: Caller) -> Problem:
    what = "The API key's scopes do" if isinstance(caller, ApiCaller) else "Your role in the workspace does"
    return Problem("permission_denied", f"{what} not allow this.")
