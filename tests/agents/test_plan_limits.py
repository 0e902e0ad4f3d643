"""What a plan limits is counted over the whole subscription, and two requests at once cannot share the last place."""

import contextlib
import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from agents import agents, secrets, workspaces
from agents.models import Agent
from agents.problems import Problem
from billing.models import Plan
from tests.agents import make


@pytest.fixture
def plan(db):
    """A plan with room for two of everything."""
    base = Plan.objects.values().get(pk="starter")
    return Plan.objects.create(**{**base, "code": "two", "max_workspaces": 2, "max_agents": 2, "max_keys": 2})


@pytest.fixture
def owner(plan):
    return make.user(plan="two")


def _refused(reply) -> bool:
    return (reply.status_code, reply.json()["code"]) == (402, "plan_limit_reached")


def test_workspaces(owner):
    api = make.session(owner)
    made = [api.post("workspaces", {"name": "x"}).json()["id"] for _ in range(2)]
    assert _refused(api.post("workspaces", {"name": "x"}))
    assert api.delete(f"workspaces/{made[0]}").status_code == 204
    assert api.post("workspaces", {"name": "x"}).status_code == 201


def test_being_a_member_elsewhere_takes_no_place(owner):
    for _ in range(2):
        make.workspace().memberships.create(user=owner, role="owner")
    assert make.session(owner).post("workspaces", {"name": "x"}).status_code == 201


def test_agents_count_over_all_workspaces(owner):
    api = make.session(owner)
    paths = [f"workspaces/{make.workspace(owner).pk}/agents" for _ in range(2)]
    made = [api.post(path, {"name": "x"}).json()["id"] for path in paths]
    refused = api.post(paths[0], {"name": "x"})
    assert _refused(refused)
    assert "2 agents" in refused.json()["detail"]
    api.delete(f"{paths[1]}/{made[1]}")
    assert api.post(paths[0], {"name": "x"}).status_code == 201
    assert _refused(api.post(paths[1], {"name": "x"}))


def test_the_subscription_of_the_workspace_counts_not_the_callers(owner):
    workspace = make.workspace(owner)
    rich = make.member(workspace, "editor")
    for _ in range(2):
        make.agent(workspace)
    assert _refused(make.session(rich).post(f"workspaces/{workspace.pk}/agents", {"name": "x"}))


def test_stream_secrets_and_api_keys_share_one_limit(owner):
    workspace = make.workspace(owner)
    api = make.session(owner)
    keys = f"workspaces/{workspace.pk}/api-keys"
    stream_secrets = f"workspaces/{workspace.pk}/agents/{make.agent(workspace).pk}/stream-secrets"
    key = api.post(keys, {"name": "x", "scopes": ["read"]}).json()
    assert api.post(stream_secrets, {"name": "x"}).status_code == 201
    assert _refused(api.post(stream_secrets, {"name": "x"}))
    assert _refused(api.post(keys, {"name": "x", "scopes": ["read"]}))
    api.delete(f"{keys}/{key['id']}")
    assert api.post(stream_secrets, {"name": "x"}).status_code == 201


def test_what_has_expired_takes_no_place(owner):
    workspace = make.workspace(owner)
    for _ in range(2):
        made = secrets.create_api_key(workspace, name="x", scopes=["read"]).stored
        made.expires_at = timezone.now() - timedelta(seconds=1)
        made.save()
    assert secrets.create_api_key(workspace, name="x", scopes=["read"])


def test_a_full_plan_still_rotates_but_not_for_ever(owner):
    workspace = make.workspace(owner)
    key = secrets.create_api_key(workspace, name="x", scopes=["read"]).stored
    secrets.create_api_key(workspace, name="y", scopes=["read"])
    for _ in range(2):
        key = secrets.rotate_api_key(key).stored
    with pytest.raises(Problem) as refused:
        secrets.rotate_api_key(key)
    assert refused.value.code == "plan_limit_reached"


class TestRace:
    """Both requests count before either creates, if they can: each waits after its count for the other's."""

    def _agents_after_two_at_once(self, monkeypatch) -> list[str]:
        owner = make.user(plan="starter")
        workspace = make.workspace(owner)
        for _ in range(4):
            make.agent(workspace)  # of 5
        limit_of, count, words = workspaces._LIMITED["agents"]
        both_counted = threading.Barrier(2)

        def count_and_wait(subscription_id: str) -> int:
            counted = count(subscription_id)
            with contextlib.suppress(threading.BrokenBarrierError):  # the other cannot count yet: it waits for our lock
                both_counted.wait(timeout=1)
            return counted

        monkeypatch.setitem(workspaces._LIMITED, "agents", (limit_of, count_and_wait, words))
        outcomes: list[str] = []

        def create() -> None:
            try:
                agents.create_agent(workspace, {"name": "x", "model": "m"})
                outcomes.append("created")
            except Problem as problem:
                outcomes.append(problem.code)
            finally:
                connection.close()

        threads = [threading.Thread(target=create) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(15)
        assert Agent.objects.count() == 4 + outcomes.count("created")
        return sorted(outcomes)

    @pytest.mark.django_db(transaction=True)
    def test_one_of_two_gets_the_last_place(self, monkeypatch):
        assert self._agents_after_two_at_once(monkeypatch) == ["created", "plan_limit_reached"]

    @pytest.mark.django_db(transaction=True)
    def test_control_without_the_lock_both_get_it(self, monkeypatch):
        monkeypatch.setattr(QuerySet, "select_for_update", lambda rows, **_: rows)
        assert self._agents_after_two_at_once(monkeypatch) == ["created", "created"]
