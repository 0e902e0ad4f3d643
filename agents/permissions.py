"""What a role in a workspace may do, and what the scopes of an API key may do. Pure."""

from collections.abc import Iterable
from enum import StrEnum


class Action(StrEnum):
    """Everything a caller can want of a workspace."""

    READ = "read"  # agents, conversations, credits, transactions, members
    OPEN_STREAMS = "open_streams"  # test an agent: it spends credits
    CHANGE_AGENTS = "change_agents"
    MANAGE_SECRETS = "manage_secrets"  # see and change stream secrets
    MANAGE_KEYS = "manage_keys"  # see and change API keys
    CHANGE_WORKSPACE = "change_workspace"
    DELETE_WORKSPACE = "delete_workspace"


_VIEWER = frozenset({Action.READ})
_EDITOR = _VIEWER | {Action.OPEN_STREAMS, Action.CHANGE_AGENTS}
_ADMIN = _EDITOR | {Action.MANAGE_SECRETS, Action.MANAGE_KEYS, Action.CHANGE_WORKSPACE}
_OWNER = _ADMIN | {Action.DELETE_WORKSPACE}

_OF_ROLE = {"viewer": _VIEWER, "editor": _EDITOR, "admin": _ADMIN, "owner": _OWNER}
_OF_SCOPE = {
    "read": frozenset({Action.READ}),
    "write": frozenset({Action.CHANGE_AGENTS}),
    "streams:open": frozenset({Action.OPEN_STREAMS}),
    "admin": _ADMIN,  # every other scope too, yet never what is the owner's alone
}


def role_may(role: str, action: Action) -> bool:
    """Whether a member with that role may do it; an unknown role may nothing."""
    return action in _OF_ROLE.get(role, frozenset())


def scopes_may(scopes: Iterable[str], action: Action) -> bool:
    """Whether an API key with those scopes may do it; unknown scopes add nothing."""
    return any(action in _OF_SCOPE.get(scope, frozenset()) for scope in scopes)
