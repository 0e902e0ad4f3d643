"""Who reaches what: every route by every role and scope, and never another workspace's things."""

import pytest

from agents.models import Agent, ApiKey, StreamSecret, Workspace
from tests.agents import make, routes

pytestmark = pytest.mark.django_db

OPERATIONS = routes.operations()
ROLES = ["viewer", "editor", "admin", "owner"]
LEAST_ROLE = {
    ("GET", ""): "viewer",
    ("PATCH", ""): "admin",
    ("DELETE", ""): "owner",
    ("GET", "/members"): "viewer",
    ("GET", "/agents"): "viewer",
    ("POST", "/agents"): "editor",
    ("GET", "/agents/<str:agent>"): "viewer",
    ("PATCH", "/agents/<str:agent>"): "editor",
    ("DELETE", "/agents/<str:agent>"): "editor",
    ("GET", "/agents/<str:agent>/stream-secrets"): "admin",
    ("POST", "/agents/<str:agent>/stream-secrets"): "admin",
    ("DELETE", "/agents/<str:agent>/stream-secrets/<str:secret>"): "admin",
    ("POST", "/agents/<str:agent>/stream-secrets/<str:secret>/rotate"): "admin",
    ("GET", "/api-keys"): "admin",
    ("POST", "/api-keys"): "admin",
    ("DELETE", "/api-keys/<str:key>"): "admin",
    ("POST", "/api-keys/<str:key>/rotate"): "admin",
    ("GET", "/credits"): "viewer",
    ("GET", "/transactions"): "viewer",
    ("GET", "/reservations"): "viewer",
    ("GET", "/agents/<str:agent>/conversations"): "viewer",
    ("GET", "/agents/<str:agent>/conversations/<str:conversation>"): "viewer",
}


def _least_role(operation: routes.Operation) -> str:
    return LEAST_ROLE[operation.method, operation.pattern.removeprefix("workspaces/<str:workspace>")]


def test_the_table_of_roles_names_every_operation():
    assert len(OPERATIONS) == len(LEAST_ROLE)
    assert all(_least_role(operation) in ROLES for operation in OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
@pytest.mark.parametrize("role", ROLES)
def test_a_member_may_what_the_role_allows(role: str, operation: routes.Operation):
    workspace = make.workspace()
    who = make.owner(workspace) if role == "owner" else make.member(workspace, role)
    reply = make.session(who).call(operation.method, operation.path(routes.parts(workspace)), operation.body)
    if ROLES.index(role) >= ROLES.index(_least_role(operation)):
        assert reply.status_code in (200, 201, 204), reply.content
    else:
        assert (reply.status_code, reply.json()["code"]) == (403, "permission_denied")


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
@pytest.mark.parametrize("scope", ApiKey.Scope.values)
def test_a_key_may_what_its_scope_allows(scope: str, operation: routes.Operation):
    workspace = make.workspace()
    api, _ = make.bearer(workspace, scope)
    reply = api.call(operation.method, operation.path(routes.parts(workspace)), operation.body)
    needed = {"viewer": "read", "editor": "write", "admin": "admin"}.get(_least_role(operation))
    if needed is not None and scope in (needed, "admin"):
        assert reply.status_code in (200, 201, 204), reply.content
    else:
        assert (reply.status_code, reply.json()["code"]) == (403, "permission_denied")


def _untouched() -> list[object]:
    """What a foreign call must not have changed."""
    return [list(model.objects.order_by("pk").values()) for model in (Workspace, Agent, StreamSecret)] + [
        list(ApiKey.objects.order_by("pk").values("pk", "revoked_at", "expires_at"))
    ]


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
@pytest.mark.parametrize("by", ["session", "key"])
def test_a_foreign_workspace_is_not_there(by: str, operation: routes.Operation):
    mine, theirs = make.workspace(), make.workspace()
    api = make.session(make.owner(mine)) if by == "session" else make.bearer(mine, "admin")[0]
    path = operation.path(routes.parts(theirs))
    before = _untouched()
    reply = api.call(operation.method, path, operation.body)
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
    assert theirs.pk not in reply.json()["detail"]
    assert _untouched() == before


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (op, name)
        for op in OPERATIONS
        for name in ("agent", "secret", "key", "conversation")
        if f"<str:{name}>" in op.pattern
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
@pytest.mark.parametrize("by", ["session", "key"])
def test_foreign_things_are_not_in_my_workspace(by: str, operation: routes.Operation, name: str):
    mine, theirs = make.workspace(), make.workspace()
    api = make.session(make.owner(mine)) if by == "session" else make.bearer(mine, "admin")[0]
    foreign = routes.parts(theirs)
    parts = {**routes.parts(mine), name: foreign[name]}
    before = _untouched()
    reply = api.call(operation.method, operation.path(parts), operation.body)
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
    assert _untouched() == before


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
def test_a_wrong_prefix_or_no_id_at_all_is_not_found(operation: routes.Operation):
    workspace = make.workspace()
    api = make.session(make.owner(workspace))
    right = routes.parts(workspace)
    for name in right:
        if f"<str:{name}>" not in operation.pattern:
            continue
        for wrong in (right[name].replace("_", "x_", 1), "nonsense", "%00", "ws_" + "z" * 26, "a" * 5000):
            reply = api.call(operation.method, operation.path({**right, name: wrong}), operation.body)
            assert reply.status_code == 404, (name, wrong)


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
def test_a_deleted_workspace_is_gone_for_its_owner_and_its_keys(operation: routes.Operation):
    workspace = make.workspace()
    owner, (key, _) = make.session(make.owner(workspace)), make.bearer(workspace, "admin")
    path = operation.path(routes.parts(workspace))
    assert owner.delete(f"workspaces/{workspace.pk}").status_code == 204
    assert owner.call(operation.method, path, operation.body).status_code == 404
    assert key.call(operation.method, path, operation.body).status_code == 401


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
def test_nobody_is_asked_to_sign_in(operation: routes.Operation):
    reply = make.anonymous().call(operation.method, operation.path(routes.parts(make.workspace())), operation.body)
    assert (reply.status_code, reply.json()["code"]) == (401, "unauthenticated")
    assert reply["Content-Type"] == "application/problem+json"
    assert reply["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
def test_a_trailing_slash_makes_no_difference(operation: routes.Operation):
    workspace = make.workspace()
    path = operation.path(routes.parts(workspace))
    reply = make.session(make.owner(workspace)).call(operation.method, f"{path}/", operation.body)
    assert reply.status_code in (200, 201, 204)
    assert make.session(make.owner(make.workspace())).call(operation.method, f"{path}//").status_code == 404


def test_staff_are_no_members():
    workspace, staff = make.workspace(), make.user()
    staff.is_staff = staff.is_superuser = True
    staff.save()
    assert make.session(staff).get(f"workspaces/{workspace.pk}").status_code == 404


def test_a_method_that_is_not_there_is_405():
    workspace = make.workspace()
    for method in ("PUT", "OPTIONS", "DELETE"):
        reply = make.session(make.owner(workspace)).call(method, f"workspaces/{workspace.pk}/credits")
        assert (reply.status_code, reply.json()["code"]) == (405, "method_not_allowed")
        assert reply["Allow"] == "GET, HEAD"
