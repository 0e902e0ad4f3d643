import pytest

from agents.models import Workspace
from billing import ids, ledger
from billing.models import CreditAccount, LedgerEntry, Subscription
from tests.agents import make

pytestmark = pytest.mark.django_db


def test_a_new_workspace_has_its_creator_as_owner_and_no_credits():
    who = make.user()
    api = make.session(who)
    reply = api.post("workspaces", {"name": "Acme"})
    assert reply.status_code == 201
    made = reply.json()
    assert (made["name"], made["plan"]) == ("Acme", "pro")
    assert api.get(f"workspaces/{made['id']}/credits").json() == {
        "balance": "0",
        "held": "0",
        "available": "0",
        "currency": "USD",
    }
    [member] = api.get(f"workspaces/{made['id']}/members").json()["data"]
    assert (member["user_id"], member["email"], member["role"]) == (who.pk, who.email, "owner")
    assert Workspace.objects.get(pk=made["id"]).subscription.owner == who


def test_a_user_without_a_subscription_gets_a_free_one():
    who = make.user()
    Subscription.objects.filter(owner=who).delete()
    assert make.session(who).post("workspaces", {"name": "Acme"}).json()["plan"] == "free"


def test_a_key_creates_no_workspace():
    api, _ = make.bearer(make.workspace(), "admin")
    reply = api.post("workspaces", {"name": "Acme"})
    assert (reply.status_code, reply.json()["code"]) == (403, "permission_denied")


def test_everybody_lists_their_own_and_a_key_its_one():
    who = make.user()
    mine = [make.workspace(who), make.workspace(who)]
    make.workspace()
    shared = make.workspace()
    shared.memberships.create(user=who, role="viewer")
    listed = [row["id"] for row in make.session(who).get("workspaces").json()["data"]]
    assert listed == [shared.pk, mine[1].pk, mine[0].pk]
    api, _ = make.bearer(mine[0], "read")
    assert [row["id"] for row in api.get("workspaces").json()["data"]] == [mine[0].pk]
    assert make.bearer(mine[0], "write")[0].get("workspaces").status_code == 403


def test_renaming():
    workspace = make.workspace()
    api = make.session(make.owner(workspace))
    assert api.patch(f"workspaces/{workspace.pk}", {"name": "New"}).json()["name"] == "New"
    assert api.get(f"workspaces/{workspace.pk}").json()["name"] == "New"
    assert api.patch(f"workspaces/{workspace.pk}", {}).json()["name"] == "New"
    for body, pointer in (({"name": ""}, "/name"), ({"plan": "pro"}, "/plan")):
        reply = api.patch(f"workspaces/{workspace.pk}", body)
        assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (400, pointer)


def test_deleting_is_soft_and_the_ledger_stays():
    workspace = make.workspace(usd=5)
    agent = make.agent(workspace)
    api = make.session(make.owner(workspace))
    secret = api.post(f"workspaces/{workspace.pk}/agents/{agent.pk}/stream-secrets", {"name": "site"}).json()
    api.post(f"workspaces/{workspace.pk}/api-keys", {"name": "key", "scopes": ["read"]})
    assert api.delete(f"workspaces/{workspace.pk}").status_code == 204
    assert api.get("workspaces").json()["data"] == []
    assert Workspace.objects.get(pk=workspace.pk).deleted_at is not None
    assert CreditAccount.objects.get(pk=workspace.pk).balance_nano == 5 * make.USD
    assert LedgerEntry.objects.filter(account_id=workspace.pk).count() == 1
    assert agent.stream_secrets.get(pk=secret["id"]).revoked_at is not None
    assert workspace.api_keys.get().revoked_at is not None


def test_money_is_a_decimal_string_and_transactions_come_newest_first():
    workspace = make.workspace()
    for nano in (5 * make.USD, 1, -2_500_000_000):
        ledger.change_credits(account=workspace.pk, amount_nano=nano, reason="because")
    api = make.session(make.member(workspace, "viewer"))
    path = f"workspaces/{workspace.pk}"
    assert api.get(f"{path}/credits").json()["available"] == "2.500000001"
    page = api.get(f"{path}/transactions?limit=2").json()
    assert [(row["number"], row["amount"], row["balance_after"]) for row in page["data"]] == [
        (3, "-2.5", "2.500000001"),
        (2, "0.000000001", "5.000000001"),
    ]
    assert {row["reason"] for row in page["data"]} == {"because"}
    assert (page["data"][0]["turn_id"], page["data"][0]["reservation_id"]) == (None, None)
    rest = api.get(f"{path}/transactions?cursor={page['next_cursor']}").json()
    assert ([row["number"] for row in rest["data"]], rest["has_more"]) == ([1], False)


@pytest.mark.parametrize("cursor", ["YWJj", "LTE", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OQ"])
def test_a_cursor_of_transactions_is_a_number(cursor):
    workspace = make.workspace()
    reply = make.session(make.owner(workspace)).get(f"workspaces/{workspace.pk}/transactions?cursor={cursor}")
    assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (400, "/cursor")


def test_a_hold_shows_until_it_is_charged():
    workspace = make.workspace(usd=1)
    turn = ids.new("turn")
    ledger.apply([ledger.reserve(account=workspace.pk, turn=turn, amount_nano=300, least_nano=1)])
    api = make.session(make.owner(workspace))
    path = f"workspaces/{workspace.pk}"
    assert api.get(f"{path}/credits").json() == {
        "balance": "1",
        "held": "0.0000003",
        "available": "0.9999997",
        "currency": "USD",
    }
    [hold] = api.get(f"{path}/reservations").json()["data"]
    assert (hold["turn_id"], hold["state"], hold["amount"]) == (turn, "pending", "0.0000003")
    ledger.apply([ledger.settle(account=workspace.pk, turn=turn, used_nano=200, estimated=False)])
    [hold] = api.get(f"{path}/reservations").json()["data"]
    assert (hold["state"], hold["charged"]) == ("settled", "0.0000002")
    charge = api.get(f"{path}/transactions").json()["data"][0]
    assert (charge["kind"], charge["amount"], charge["turn_id"]) == ("charge", "-0.0000002", turn)
    assert charge["reservation_id"] == hold["id"]
