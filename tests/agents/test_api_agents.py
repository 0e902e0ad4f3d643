import json

import pytest

from agents.api.serializers import AgentInput
from agents.models import Agent
from tests.agents import make

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace():
    return make.workspace()


@pytest.fixture
def api(workspace):
    return make.session(make.owner(workspace))


@pytest.fixture
def path(workspace):
    return f"workspaces/{workspace.pk}/agents"


FULL = {
    "name": "Helper",
    "system_prompt": " Be brief.\n",
    "model": "gpt-4o-mini",
    "temperature": 0.5,
    "top_p": None,
    "max_output_tokens": 100,
    "stop_sequences": ["\n\n", "END"],
    "dialect": "ui",
    "show_reasoning": True,
    "on_disconnect": "finish",
    "disconnect_grace_s": 30,
}


def test_an_agent_comes_back_as_it_was_given(api, path, workspace):
    reply = api.post(path, FULL)
    assert reply.status_code == 201
    made = reply.json()
    assert {name: made[name] for name in FULL} == FULL
    assert made["workspace_id"] == workspace.pk
    assert (made["version"], reply["ETag"]) == (1, '"1"')
    assert made["created_at"].endswith("Z")
    again = api.get(f"{path}/{made['id']}")
    assert (again.status_code, again.json(), again["ETag"]) == (200, made, '"1"')
    assert again["Cache-Control"] == "no-store"


def test_every_setting_of_the_model_can_be_given():
    kept = {"id", "workspace", "version", "created_at", "updated_at", "deleted_at"}
    assert set(FULL) == {field.name for field in Agent._meta.fields} - kept
    assert set(AgentInput().fields) == set(FULL)


def test_a_name_is_enough(api, path, settings):
    made = api.post(path, {"name": "  Helper "}).json()
    assert made["name"] == "Helper"
    assert made["model"] == settings.DEFAULT_MODEL
    assert (made["dialect"], made["on_disconnect"], made["temperature"]) == ("auto", "stop", None)


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({}, "/name", "required"),
        ({"name": "  "}, "/name", "blank"),
        ({"name": 5}, "/name", "invalid"),
        ({"name": None}, "/name", "null"),
        ({"name": "a\x00b"}, "/name", "null_characters_not_allowed"),
        ({"name": "a\ud800b"}, "/name", "surrogate_characters_not_allowed"),
        ({"name": "x" * 101}, "/name", "max_length"),
        ({"name": "x", "system_prompt": "x" * 100_001}, "/system_prompt", "max_length"),
        ({"name": "x", "system_prompt": "\x00"}, "/system_prompt", "null_characters_not_allowed"),
        ({"name": "x", "temperature": 2.1}, "/temperature", "max_value"),
        ({"name": "x", "temperature": "1"}, "/temperature", "invalid"),
        ({"name": "x", "temperature": True}, "/temperature", "invalid"),
        ({"name": "x", "temperature": 10**400}, "/temperature", "invalid"),
        ({"name": "x", "top_p": -0.1}, "/top_p", "min_value"),
        ({"name": "x", "max_output_tokens": 0}, "/max_output_tokens", "min_value"),
        ({"name": "x", "max_output_tokens": 1.5}, "/max_output_tokens", "invalid"),
        ({"name": "x", "max_output_tokens": 10**30}, "/max_output_tokens", "max_value"),
        ({"name": "x", "max_output_tokens": None}, "/max_output_tokens", "null"),
        ({"name": "x", "stop_sequences": "END"}, "/stop_sequences", "not_a_list"),
        ({"name": "x", "stop_sequences": ["a"] * 5}, "/stop_sequences", "max_length"),
        ({"name": "x", "stop_sequences": ["a", ""]}, "/stop_sequences/1", "blank"),
        ({"name": "x", "dialect": "v9"}, "/dialect", "invalid_choice"),
        ({"name": "x", "dialect": ["ui"]}, "/dialect", "invalid_choice"),
        ({"name": "x", "show_reasoning": "yes"}, "/show_reasoning", "invalid"),
        ({"name": "x", "disconnect_grace_s": 301}, "/disconnect_grace_s", "max_value"),
        ({"name": "x", "id": "ag_1"}, "/id", "unknown_field"),
        ({"name": "x", "a/b~c": 1}, "/a~1b~0c", "unknown_field"),
        ([], "", "invalid"),
        ("text", "", "invalid"),
    ],
)
def test_what_is_wrong_is_named_by_pointer(api, path, fields, pointer, code):
    reply = api.call("POST", path, json.dumps(fields))
    assert reply.status_code == 400
    assert reply["Content-Type"] == "application/problem+json"
    problem = reply.json()
    assert (problem["code"], problem["status"], problem["instance"]) == ("invalid", 400, f"/api/{path}")
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [(pointer, code)]
    assert Agent.objects.count() == 0


def test_every_wrong_field_is_named_at_once(api, path):
    errors = api.post(path, {"nam": "x", "top_p": 7}).json()["errors"]
    assert {error["pointer"] for error in errors} == {"/nam", "/name", "/top_p"}


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"name": NaN}', "application/json", 400),
        (b'{"name": "\xff"}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"name": ' + b"9" * 5000 + b"}", "application/json", 400),
        (b"name=x", "application/x-www-form-urlencoded", 415),
        (b'{"name": "x"}', "text/plain", 415),
        (b'{"name": "' + b"x" * 1024 * 1024 + b'"}', "application/json", 413),
    ],
)
def test_a_body_that_is_no_json_object_of_ours(api, path, content, content_type, status):
    reply = api.client.post(f"/api/{path}", content, content_type=content_type)
    assert reply.status_code == status
    assert reply["Content-Type"] == "application/problem+json"


def test_accept_is_not_asked_for(api, path):
    assert api.get(path, Accept="text/html").json() == {"data": [], "has_more": False, "next_cursor": None}


class TestChange:
    @pytest.fixture
    def agent(self, workspace):
        return make.agent(workspace)

    @pytest.fixture
    def one(self, path, agent):
        return f"{path}/{agent.pk}"

    def test_only_what_is_given_changes(self, api, one, agent):
        reply = api.patch(one, {"temperature": 1})
        assert (reply.status_code, reply["ETag"]) == (200, '"2"')
        changed = Agent.objects.get(pk=agent.pk)
        assert (changed.temperature, changed.name, changed.version) == (1, "Helper", 2)
        assert changed.updated_at > agent.updated_at

    def test_a_change_of_nothing_keeps_the_version(self, api, one):
        for body in ({}, {"name": "Helper"}):
            assert api.patch(one, body)["ETag"] == '"1"'

    @pytest.mark.parametrize("tag", ['"1"', '"7", "1"', "*"])
    def test_the_version_that_was_read_may_change_it(self, api, one, tag):
        assert api.patch(one, {"name": "New"}, **{"If-Match": tag}).status_code == 200

    @pytest.mark.parametrize("tag", ['"2"', 'W/"1"', "1", "", '"x"'])
    def test_another_version_may_not(self, api, one, agent, tag):
        for reply in (
            api.patch(one, {"name": "New"}, **{"If-Match": tag}),
            api.delete(one, **{"If-Match": tag}),
        ):
            assert (reply.status_code, reply.json()["code"]) == (412, "precondition_failed")
        assert Agent.objects.present().get(pk=agent.pk).name == "Helper"

    def test_the_second_of_two_writers_learns_of_the_first(self, api, one):
        tag = api.get(one)["ETag"]
        assert api.patch(one, {"name": "First"}, **{"If-Match": tag}).status_code == 200
        assert api.patch(one, {"name": "Second"}, **{"If-Match": tag}).status_code == 412
        assert api.get(one).json()["name"] == "First"

    def test_wrong_fields_are_refused_here_too(self, api, one):
        for body, pointer in (({"name": ""}, "/name"), ({"nam": "x"}, "/nam"), ({"version": 3}, "/version")):
            assert api.patch(one, body).json()["errors"][0]["pointer"] == pointer

    def test_a_deleted_agent_is_gone_and_its_secrets_open_nothing(self, api, one, path, agent):
        api.post(f"{one}/stream-secrets", {"name": "site"})
        reply = api.delete(one)
        assert (reply.status_code, reply.content) == (204, b"")
        assert api.get(one).status_code == api.delete(one).status_code == 404
        assert api.get(path).json()["data"] == []
        assert agent.stream_secrets.get().revoked_at is not None


class TestList:
    def _ids(self, reply):
        return [row["id"] for row in reply.json()["data"]]

    def test_pages_cover_everything_once_newest_first(self, api, path, workspace):
        made = [make.agent(workspace).pk for _ in range(5)]
        first = api.get(f"{path}?limit=2")
        late = make.agent(workspace).pk  # what is added meanwhile moves nothing
        second = api.get(f"{path}?limit=2&cursor={first.json()['next_cursor']}")
        third = api.get(f"{path}?limit=2&cursor={second.json()['next_cursor']}")
        assert self._ids(first) + self._ids(second) + self._ids(third) == made[::-1]
        assert late not in self._ids(third)
        assert [reply.json()["has_more"] for reply in (first, second, third)] == [True, True, False]
        assert third.json()["next_cursor"] is None

    def test_a_full_last_page_has_no_more(self, api, path, workspace):
        make.agent(workspace)
        assert api.get(f"{path}?limit=1").json()["has_more"] is False

    def test_a_page_has_25_at_most_unless_asked(self, api, path, workspace):
        Agent.objects.bulk_create(Agent(workspace=workspace, name="x", model="m") for _ in range(101))
        assert len(self._ids(api.get(path))) == 25
        assert len(self._ids(api.get(f"{path}?limit=100"))) == 100

    @pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "limit=", "limit=-1", "limit=1.5", "limit=٣"])
    def test_a_limit_out_of_bounds(self, api, path, query):
        reply = api.get(f"{path}?{query}")
        assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (400, "/limit")

    @pytest.mark.parametrize("cursor", ["!", "a", "%00", "AA", "ü", "YWFh" * 100, "_w"])
    def test_a_cursor_that_no_list_gave(self, api, path, cursor):
        reply = api.get(f"{path}?cursor={cursor}")
        assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (400, "/cursor")
