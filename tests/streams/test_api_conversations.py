from datetime import timedelta

import pytest
from django.utils import timezone

from billing import ids
from billing.models import ModelPrice
from streams import api as streams_api
from streams.models import Conversation, Message, Turn
from tests.agents import make

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace():
    return make.workspace()


@pytest.fixture
def api(workspace):
    return make.session(make.member(workspace, "viewer"))


def _talk(agent, turns: int) -> Conversation:
    conversation = Conversation.objects.create(workspace=agent.workspace, agent=agent, scope="sec_1", chat_id="chat")
    for number in range(turns):
        turn = Turn.objects.create(
            workspace=agent.workspace,
            agent=agent,
            conversation=conversation,
            model="simulated/echo-1",
            simulated=True,
            request_id=ids.new("req"),
            ending="finished",
            finish_reason="stop",
            input_tokens=3,
            output_tokens=2,
            cost_nano=1_500,
            started_at=timezone.now(),
            ended_at=timezone.now(),
        )
        for role in ("user", "assistant"):
            Message.objects.create(
                conversation=conversation, turn=turn, role=role, parts=[{"type": "text", "text": f"{role} {number}"}]
            )
    return conversation


def test_a_conversation_comes_with_its_messages_and_turns_in_order(api, workspace):
    agent = make.agent(workspace)
    conversation = _talk(agent, 2)
    path = f"workspaces/{workspace.pk}/agents/{agent.pk}/conversations"
    [listed] = api.get(path).json()["data"]
    assert (listed["id"], listed["chat_id"], listed["agent_id"]) == (conversation.pk, "chat", agent.pk)
    assert "scope" not in listed
    detail = api.get(f"{path}/{conversation.pk}").json()
    assert [(message["role"], message["parts"][0]["text"]) for message in detail["messages"]] == [
        ("user", "user 0"),
        ("assistant", "assistant 0"),
        ("user", "user 1"),
        ("assistant", "assistant 1"),
    ]
    first = detail["turns"][0]
    assert detail["messages"][0]["turn_id"] == first["id"]
    assert (first["cost"], first["input_tokens"], first["finish_reason"]) == ("0.0000015", 3, "stop")
    assert detail["has_more"] is False


def test_a_long_conversation_shows_its_newest_messages(api, workspace, monkeypatch):
    monkeypatch.setattr(streams_api, "SHOWN_MESSAGES", 3)
    agent = make.agent(workspace)
    conversation = _talk(agent, 3)
    detail = api.get(f"workspaces/{workspace.pk}/agents/{agent.pk}/conversations/{conversation.pk}").json()
    assert [message["parts"][0]["text"] for message in detail["messages"]] == ["assistant 1", "user 2", "assistant 2"]
    assert [turn["id"] for turn in detail["turns"]] == [turn.pk for turn in conversation.turns.order_by("id")[1:]]
    assert detail["has_more"] is True


def test_newest_conversations_come_first_and_only_this_agents(api, workspace):
    agent, other = make.agent(workspace), make.agent(workspace)
    made = [Conversation.objects.create(workspace=workspace, agent=agent, scope="s").pk for _ in range(3)]
    Conversation.objects.create(workspace=workspace, agent=other, scope="s")
    path = f"workspaces/{workspace.pk}/agents/{agent.pk}/conversations"
    first = api.get(f"{path}?limit=2").json()
    rest = api.get(f"{path}?limit=2&cursor={first['next_cursor']}").json()
    assert [row["id"] for row in first["data"] + rest["data"]] == made[::-1]


def test_the_stream_address_is_told_to_anybody(settings):
    settings.STREAM_URL = "https://streams.example.com"
    assert make.anonymous().get("stream-url").json() == {"url": "https://streams.example.com"}
    assert make.anonymous().get("stream-url/").status_code == 200


@pytest.fixture
def prices():
    """One real and one simulated model, with a past and a future price."""
    ModelPrice.objects.all().delete()
    now = timezone.now()
    for model, days, nano in (
        ("m-1", -2, 1),
        ("m-1", -1, 2_500_000_000),
        ("m-1", 1, 3),
        ("simulated/x", -1, 5),
        ("m-2", 1, 7),
    ):
        ModelPrice.objects.create(
            model=model, input_nano=nano, output_nano=nano * 2, valid_from=now + timedelta(days=days)
        )


def test_prices_are_those_of_now(api, prices):
    rows = api.get("pricing").json()["data"]
    assert [(row["model"], row["input"], row["output"]) for row in rows] == [
        ("m-1", "2.5", "5"),
        ("simulated/x", "0.000000005", "0.00000001"),
    ]
    assert (rows[0]["cached_input"], rows[0]["currency"]) == ("2.5", "USD")
    ModelPrice.objects.filter(input_nano=2_500_000_000).update(cached_input_nano=1_250_000_000)
    page = api.get("pricing?limit=1").json()
    assert (page["data"][0]["cached_input"], page["has_more"]) == ("1.25", True)
    assert api.get(f"pricing?cursor={page['next_cursor']}").json()["data"][0]["model"] == "simulated/x"


def test_models_are_those_that_have_a_provider_and_a_price(api, prices, settings):
    settings.PROVIDER_CONFIGURED = False
    assert api.get("models").json()["data"] == [{"id": "simulated/x", "simulated": True}]
    settings.PROVIDER_CONFIGURED = True
    assert [row["id"] for row in api.get("models").json()["data"]] == ["m-1", "simulated/x"]


@pytest.mark.parametrize("path", ["models", "pricing"])
def test_prices_and_models_need_a_caller_who_may_read(path, workspace):
    assert make.anonymous().get(path).status_code == 401
    assert make.bearer(workspace, "write")[0].get(path).status_code == 403
    assert make.bearer(workspace, "read")[0].get(path).status_code == 200
