import threading
from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from django.db import connection
from django.utils import timezone

from agents import idempotency, tasks
from agents.models import Agent, IdempotentReply
from agents.problems import Problem
from tests.agents import make


@pytest.fixture
def workspace(db):
    return make.workspace()


@pytest.fixture
def api(workspace):
    return make.session(make.owner(workspace))


@pytest.fixture
def path(workspace):
    return f"workspaces/{workspace.pk}/agents"


def test_the_same_request_gets_the_same_reply_and_is_done_once(api, path):
    first = api.post(path, {"name": "a", "top_p": 1}, **{"Idempotency-Key": "k"})
    second = api.post(f"{path}/", '{"top_p":  1, "name": "a"}', **{"Idempotency-Key": "k"})
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    assert second["ETag"] == first["ETag"]
    assert "Idempotent-Replayed" not in first
    assert second["Idempotent-Replayed"] == "true"
    assert Agent.objects.count() == 1


def test_a_secret_is_shown_again_and_sealed_at_rest(api, workspace):
    path = f"workspaces/{workspace.pk}/agents/{make.agent(workspace).pk}/stream-secrets"
    first = api.post(path, {"name": "a"}, **{"Idempotency-Key": "k"})
    assert api.post(path, {"name": "a"}, **{"Idempotency-Key": "k"}).json() == first.json()
    kept = IdempotentReply.objects.get()
    assert first.json()["secret"].encode() not in bytes(kept.sealed_body)
    assert first.json()["id"].encode() not in bytes(kept.sealed_body)


def test_a_reply_whose_key_is_gone_is_not_done_again(api, path, settings):
    assert api.post(path, {"name": "a"}, **{"Idempotency-Key": "k"}).status_code == 201
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    again = api.post(path, {"name": "a"}, **{"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert Agent.objects.count() == 1


def test_another_body_or_path_under_the_key_is_refused(api, path, workspace):
    api.post(path, {"name": "a"}, **{"Idempotency-Key": "k"})
    for reply in (
        api.post(path, {"name": "b"}, **{"Idempotency-Key": "k"}),
        api.post(f"workspaces/{workspace.pk}/api-keys", {"name": "a"}, **{"Idempotency-Key": "k"}),
    ):
        assert (reply.status_code, reply.json()["code"]) == (422, "unprocessable")
    assert Agent.objects.count() == 1


def test_what_was_refused_may_be_sent_again(api, path):
    assert api.post(path, {"name": ""}, **{"Idempotency-Key": "k"}).status_code == 400
    assert api.post(path, {"name": "a"}, **{"Idempotency-Key": "k"}).status_code == 201


def test_a_key_belongs_to_its_caller(api, path, workspace):
    other = make.session(make.member(workspace, "admin"))
    by_key, _ = make.bearer(workspace, "admin")
    replies = [caller.post(path, {"name": "a"}, **{"Idempotency-Key": "k"}) for caller in (api, other, by_key)]
    assert len({reply.json()["id"] for reply in replies}) == 3


def test_a_replay_is_still_asked_for_access(api, path, workspace):
    editor = make.member(workspace, "editor")
    caller = make.session(editor)
    assert caller.post(path, {"name": "a"}, **{"Idempotency-Key": "k"}).status_code == 201
    workspace.memberships.filter(user=editor).update(role="viewer")
    assert caller.post(path, {"name": "a"}, **{"Idempotency-Key": "k"}).status_code == 403


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "ü"])
def test_a_key_out_of_form(api, path, key):
    reply = api.post(path, {"name": "a"}, **{"Idempotency-Key": key})
    assert (reply.status_code, reply.json()["code"]) == (400, "invalid")
    assert Agent.objects.count() == 0


def test_after_a_day_the_key_is_free_again(api, path):
    first = api.post(path, {"name": "a"}, **{"Idempotency-Key": "k"})
    IdempotentReply.objects.update(created_at=timezone.now() - timedelta(hours=24, seconds=1))
    second = api.post(path, {"name": "b"}, **{"Idempotency-Key": "k"})
    assert (second.status_code, second.json()["name"]) == (201, "b")
    assert second.json()["id"] != first.json()["id"]


def test_the_task_forgets_what_is_older_than_a_day(api, path):
    for key in ("old", "new"):
        api.post(path, {"name": "a"}, **{"Idempotency-Key": key})
    IdempotentReply.objects.filter(key="old").update(created_at=timezone.now() - timedelta(hours=24, seconds=1))
    tasks.forget_idempotency_keys.apply(kwargs={"asked_by": "a later version"}, throw=True)
    assert [reply.key for reply in IdempotentReply.objects.all()] == ["new"]


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    """Two requests at the same time, each on a connection of its own."""

    def _in_thread(self, work) -> list[object]:
        found: list[object] = []

        def run() -> None:
            try:
                found.append(work())
            except Problem as problem:
                found.append(problem.code)
            finally:
                connection.close()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
        return found

    def test_the_second_is_told_that_the_first_still_runs(self):
        def once(work):
            return idempotency.once(caller="usr", key="k", request_digest=b"d" * 32, work=work)

        reply = idempotency.Reply(201, {"id": 1}, {})
        inner = []

        def slow() -> idempotency.Reply:
            inner.extend(self._in_thread(lambda: once(lambda: reply)))
            return reply

        assert once(slow).replayed is False
        assert inner == ["conflict"]
        assert once(slow).replayed is True

    def test_a_crash_takes_its_work_back_and_frees_the_key(self):
        workspace = make.workspace()

        def once(work):
            return idempotency.once(caller="usr", key="k", request_digest=b"d" * 32, work=work)

        def crash() -> idempotency.Reply:
            make.agent(workspace)
            raise RuntimeError("power cut")

        with pytest.raises(RuntimeError):
            once(crash)
        assert (Agent.objects.count(), IdempotentReply.objects.count()) == (0, 0)
        assert once(lambda: idempotency.Reply(201, None, {})).replayed is False
