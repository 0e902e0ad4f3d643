from agents import permissions
from agents.permissions import Action

ROLES = {
    Action.READ: {"viewer", "editor", "admin", "owner"},
    Action.OPEN_STREAMS: {"editor", "admin", "owner"},
    Action.CHANGE_AGENTS: {"editor", "admin", "owner"},
    Action.MANAGE_SECRETS: {"admin", "owner"},
    Action.MANAGE_KEYS: {"admin", "owner"},
    Action.CHANGE_WORKSPACE: {"admin", "owner"},
    Action.DELETE_WORKSPACE: {"owner"},
}
SCOPES = {
    Action.READ: {"read", "admin"},
    Action.OPEN_STREAMS: {"streams:open", "admin"},
    Action.CHANGE_AGENTS: {"write", "admin"},
    Action.MANAGE_SECRETS: {"admin"},
    Action.MANAGE_KEYS: {"admin"},
    Action.CHANGE_WORKSPACE: {"admin"},
    Action.DELETE_WORKSPACE: set(),
}


def test_every_role_may_what_the_table_says_and_no_more():
    roles = ["viewer", "editor", "admin", "owner", "", "superuser"]
    assert {action: {role for role in roles if permissions.role_may(role, action)} for action in Action} == ROLES


def test_every_scope_opens_what_the_table_says_and_no_more():
    scopes = ["read", "write", "admin", "streams:open", "", "everything"]
    assert {
        action: {scope for scope in scopes if permissions.scopes_may([scope], action)} for action in Action
    } == SCOPES


def test_scopes_add_up():
    assert permissions.scopes_may(["read", "write"], Action.CHANGE_AGENTS)
    assert permissions.scopes_may(["read", "write"], Action.READ)
    assert not permissions.scopes_may([], Action.READ)
