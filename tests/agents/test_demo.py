"""The demo's seed: whole at the first call, the same at the next, only the credentials are new."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from agents import vault
from agents.models import Agent, ApiKey, Membership, StreamSecret, User, Workspace
from billing import audit, ledger
from billing.models import CreditAccount

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def demo_allowed(settings) -> None:
    settings.DEMO = True


def run() -> dict:
    out = StringIO()
    call_command("demo", "--json", stdout=out)
    return json.loads(out.getvalue())


def available(made: dict) -> int:
    return CreditAccount.objects.get(workspace_id=made["workspace_id"]).available_nano


def test_it_prints_what_the_contract_says_and_that_works(client, settings) -> None:
    made = run()
    assert set(made) == {
        "base_url",
        "workspace_id",
        "agent_id",
        "stream_url",
        "stream_secret",
        "webhook_url",
        "api_key",
        "user",
    }
    assert made["base_url"] == settings.PUBLIC_URL
    assert made["stream_url"] == (
        f"{settings.STREAM_URL}/api/streams/{made['workspace_id']}/{made['agent_id']}/{made['stream_secret']}"
    )
    workspace = Workspace.objects.get(id=made["workspace_id"])
    assert (workspace.name, workspace.subscription.plan_id) == ("Demo shop", "pro")
    agent = Agent.objects.get(id=made["agent_id"])
    assert (agent.name, agent.model, agent.workspace) == ("Ada", settings.DEFAULT_MODEL, workspace)
    user = User.objects.get(email=made["user"]["email"])
    assert (user.is_staff, user.is_superuser, user.has_usable_password()) == (True, True, False)
    assert Membership.objects.get(workspace=workspace, user=user).role == "owner"
    assert available(made) == 10_000_000_000

    secret = StreamSecret.objects.get(public_id=vault.public_id(made["stream_secret"], "hms"))
    assert vault.matches(made["stream_secret"], secret.digest)
    assert (secret.agent, secret.revoked_at) == (agent, None)
    assert secret.allowed_origins == [settings.PUBLIC_URL, "http://localhost:3000"]
    key = ApiKey.objects.get(public_id=vault.public_id(made["api_key"], "hmk"))
    assert vault.matches(made["api_key"], key.digest)
    assert set(key.scopes) == set(ApiKey.Scope.values)

    link = made["user"]["sign_in_url"].removeprefix(settings.PUBLIC_URL)
    assert client.post(link).status_code == 302
    assert client.session["_auth_user_id"] == user.id


def test_a_second_call_changes_nothing_but_the_credentials() -> None:
    first = run()
    someone_elses = StreamSecret.objects.create(
        agent_id=first["agent_id"], name="shop", public_id="0" * 12, digest=b"0" * 32, lineage="sec_0"
    )
    second = run()
    assert {key for key in first if first[key] != second[key]} <= {"stream_url", "stream_secret", "api_key", "user"}
    assert first["stream_secret"] != second["stream_secret"]
    assert first["api_key"] != second["api_key"]
    assert available(second) == 10_000_000_000
    assert [User.objects.count(), Workspace.objects.count(), Agent.objects.count()] == [1, 1, 1]

    old, new = (
        StreamSecret.objects.get(public_id=vault.public_id(made["stream_secret"], "hms")) for made in (first, second)
    )
    assert old.revoked_at is not None
    assert new.revoked_at is None
    assert old.lineage == new.lineage, "chats of the demo go on"
    assert ApiKey.objects.get(public_id=vault.public_id(first["api_key"], "hmk")).revoked_at is not None
    someone_elses.refresh_from_db()
    assert someone_elses.revoked_at is None


@pytest.mark.parametrize(
    ("spent", "left"),
    [(8_999_999_999, 1_000_000_001), (9_000_000_001, 10_000_000_000), (10_000_000_000, 10_000_000_000)],
)
def test_credit_is_topped_up_only_when_nearly_spent(spent: int, left: int) -> None:
    made = run()
    ledger.change_credits(account=made["workspace_id"], amount_nano=-spent, reason="spent")
    run()
    assert available(made) == left
    assert audit.violations() == []


def test_the_agent_follows_a_provider_that_comes_and_goes_but_not_against_a_choice(settings) -> None:
    made = run()

    def model_after(default: str) -> str:
        settings.DEFAULT_MODEL = default
        run()
        return Agent.objects.get(id=made["agent_id"]).model

    assert model_after("gpt-4o-mini") == "gpt-4o-mini"
    assert model_after("gpt-4o") == "gpt-4o-mini"
    assert model_after("simulated/echo-1") == "simulated/echo-1"


def test_where_no_demo_is_wanted_it_is_refused(settings) -> None:
    settings.DEMO = settings.DEBUG = False
    with pytest.raises(CommandError, match="HELPMATON_DEMO=1"):
        run()
    assert not User.objects.exists()


def test_without_json_it_prints_every_value() -> None:
    out = StringIO()
    call_command("demo", stdout=out)
    shown = out.getvalue()
    assert "hms_" in shown
    assert "hmk_" in shown
    assert "demo@example.com" in shown
