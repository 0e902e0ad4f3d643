"""Staff's pages: every one opens, credits are granted with a reason, history is not edited."""

import re

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from agents import secrets, vault
from agents.models import ApiKey, StreamSecret, User
from billing import ids, ledger
from billing.models import CreditAccount, LedgerEntry, ModelPrice, Plan, Subscription
from streams.models import Conversation, Message, Turn
from tests.agents import make

pytestmark = pytest.mark.django_db

CUSTOMERS_WORDS = "what the customer's user wrote"


@pytest.fixture
def workspace():
    """A workspace with something on every page."""
    made = make.workspace(usd=5)
    agent = make.agent(made, system_prompt=CUSTOMERS_WORDS)
    secrets.create_stream_secret(agent, name="site")
    secrets.create_api_key(made, name="key", scopes=["read"])
    conversation = Conversation.objects.create(workspace=made, agent=agent, scope="s", chat_id="c")
    now = timezone.now()
    turn = Turn.objects.create(
        workspace=made, agent=agent, conversation=conversation, model="m", request_id="r", started_at=now
    )
    Message.objects.create(
        conversation=conversation, turn=turn, role="user", parts=[{"type": "text", "text": CUSTOMERS_WORDS}]
    )
    ledger.apply([ledger.reserve(account=made.pk, turn=turn.pk, amount_nano=1_500, least_nano=1)])
    ModelPrice.objects.create(model="m", input_nano=1, output_nano=2)
    return made


@pytest.fixture
def staff():
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.com"))
    return client


def _lesser(*permissions: str) -> Client:
    """A member of staff with those permissions and no others."""
    who = User.objects.create_user(f"{'-'.join(permissions)}@example.com", is_staff=True)
    who.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(who)
    return client


MODELS = list(admin.site._registry)


def _url(model, page, *args) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_page_of_every_model_opens_and_shows_no_secret_and_no_talk(staff, workspace, model):
    pages = [_url(model, "changelist"), _url(model, "changelist") + "?q=x"]
    pages += [_url(model, "change", row.pk) for row in model.objects.all()[:3]]
    pages += [_url(model, "history", row.pk) for row in model.objects.all()[:1]]
    columns = len(admin.site._registry[model].list_display)
    pages += [f"{_url(model, 'changelist')}?o={number}" for number in range(1, columns + 1)]
    if admin.site._registry[model].has_add_permission(staff.get("/staff/").wsgi_request):
        pages.append(_url(model, "add"))
    digests = [row.digest for kind in (StreamSecret, ApiKey) for row in kind.objects.all()]
    for page in pages:
        reply = staff.get(page)
        assert reply.status_code == 200, page
        text = reply.content.decode()
        assert CUSTOMERS_WORDS not in text
        assert not any(bytes(digest).hex() in text or str(bytes(digest)) in text for digest in digests)


def test_the_index_opens_for_staff_alone(staff, workspace):
    assert staff.get("/staff/").status_code == 200
    client = Client()
    client.force_login(make.owner(workspace))
    assert client.get("/staff/").status_code == 302


def test_messages_are_on_no_page():
    assert Message not in MODELS


class TestCredits:
    @pytest.fixture
    def page(self, workspace):
        return reverse("admin:billing_creditaccount_change_credits", args=[workspace.pk])

    def _form(self, **fields: str) -> dict[str, str]:
        return {"usd": "2.5", "reason": "goodwill", "item": ids.new("led"), **fields}

    def test_a_grant_is_an_entry_with_its_reason_and_stays_in_the_history(self, staff, workspace, page):
        assert staff.get(page).status_code == 200
        reply = staff.post(page, self._form())
        assert reply.status_code == 302
        entry = LedgerEntry.objects.filter(account_id=workspace.pk).latest("number")
        assert (entry.amount_nano, entry.kind, entry.reason) == (2_500_000_000, "grant", "goodwill")
        assert CreditAccount.objects.get(pk=workspace.pk).balance_nano == 7_500_000_000
        assert "2.5 US dollars: goodwill" in LogEntry.objects.get().change_message

    def test_sent_twice_it_counts_once(self, staff, workspace, page):
        form = self._form()
        for _ in range(2):
            assert staff.post(page, form).status_code == 302
        assert CreditAccount.objects.get(pk=workspace.pk).balance_nano == 7_500_000_000

    def test_credits_are_never_taken_below_zero_nor_out_of_a_hold(self, staff, workspace, page):
        reply = staff.post(page, self._form(usd="-5"))
        assert reply.status_code == 200
        assert "Only 4.9999985 US dollars are available." in reply.content.decode()
        assert CreditAccount.objects.get(pk=workspace.pk).balance_nano == 5 * make.USD
        assert LogEntry.objects.count() == 0
        assert staff.post(page, self._form(usd="-4.9999985")).status_code == 302

    @pytest.mark.parametrize(
        "fields",
        [
            {"usd": "x"}, {"usd": ""}, {"usd": "0"}, {"usd": "1e3"}, {"usd": "1000000.1"}, {"usd": "0.0000000001"},
            {"reason": ""}, {"reason": "x" * 201}, {"item": "led_1"}, {"item": ""}, {"reason": "a\x00b"},
        ],
    )  # fmt: skip
    def test_what_is_no_grant_changes_nothing(self, staff, workspace, page, fields):
        assert staff.post(page, self._form(**fields)).status_code == 200
        assert LedgerEntry.objects.filter(account_id=workspace.pk).count() == 1

    def test_who_may_only_look_may_not_grant(self, workspace, page):
        client = _lesser("view_creditaccount")
        assert client.get(_url(CreditAccount, "change", workspace.pk)).status_code == 200
        assert client.get(page).status_code == 403
        assert client.post(page, self._form()).status_code == 403
        allowed = _lesser("view_creditaccount", "change_creditaccount")
        assert allowed.post(page, self._form()).status_code == 302

    def test_an_unknown_account_is_404(self, staff):
        assert staff.get(reverse("admin:billing_creditaccount_change_credits", args=["ws_1"])).status_code == 404


@pytest.mark.parametrize("name", ["ledgerentry", "reservation", "creditaccount"])
def test_money_is_read_only_even_for_a_superuser(staff, workspace, name):
    model = next(model for model in MODELS if model._meta.model_name == name)
    row = model.objects.first()
    before = model.objects.values().get(pk=row.pk)
    assert staff.get(_url(model, "add")).status_code == 403
    assert staff.post(_url(model, "change", row.pk), {"balance_nano": "1"}).status_code == 403
    assert staff.post(_url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    selected = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    staff.post(_url(model, "changelist"), selected)
    assert model.objects.values().get(pk=row.pk) == before


class TestPlans:
    def _post(self, staff, **changes: object):
        plan = Plan.objects.values().get(pk="starter")
        form = {name: "" if value is False else value for name, value in plan.items()}
        return staff.post(_url(Plan, "change", "starter"), {**form, "monthly_price_nano": "29", **changes})

    def test_an_edit_is_kept_and_in_the_history(self, staff):
        assert self._post(staff, monthly_price_nano="39.5", concurrent_streams=60).status_code == 302
        plan = Plan.objects.get(pk="starter")
        assert (plan.monthly_price_nano, plan.concurrent_streams) == (39_500_000_000, 60)
        assert set(LogEntry.objects.get().get_change_message().split()) & {"Concurrent"}

    @pytest.mark.parametrize(
        "changes",
        [
            {"burst": 499},
            {"longest_stream_s": 3601},
            {"concurrent_streams": 0},
            {"requests_per_second": -1},
            {"turns_per_day": "x"},
            {"monthly_price_nano": "-1"},
            {"monthly_price_nano": "free"},
            {"max_keys": 0},
        ],
    )
    def test_what_the_table_would_refuse_the_form_refuses(self, staff, changes):
        before = Plan.objects.values().get(pk="starter")
        reply = self._post(staff, **changes)
        assert reply.status_code == 200
        assert Plan.objects.values().get(pk="starter") == before

    def test_a_plan_keeps_its_code_and_is_not_deleted(self, staff):
        self._post(staff, code="other")
        assert not Plan.objects.filter(pk="other").exists()
        assert staff.post(_url(Plan, "delete", "free"), {"post": "yes"}).status_code == 403


def test_a_subscription_changes_its_plan_and_nothing_else(staff, workspace):
    subscription = workspace.subscription
    other = make.user()
    form = {"plan": "starter", "owner": other.pk}
    assert staff.post(_url(Subscription, "change", subscription.pk), form).status_code == 302
    changed = Subscription.objects.get(pk=subscription.pk)
    assert (changed.plan_id, changed.owner_id) == ("starter", subscription.owner_id)


class TestPrices:
    FORM = {
        "model": "m-1",
        "input_nano": "2.5",
        "output_nano": "10",
        "valid_from_0": "2026-01-01",
        "valid_from_1": "0:00",
    }

    def test_a_price_is_added_in_dollars(self, staff):
        assert staff.post(_url(ModelPrice, "add"), {**self.FORM, "cached_input_nano": ""}).status_code == 302
        price = ModelPrice.objects.get(model="m-1")
        assert (price.input_nano, price.output_nano, price.cached_input_nano) == (2_500_000_000, 10_000_000_000, None)
        assert price.source == "manual"

    @pytest.mark.parametrize("fields", [{"input_nano": "-1"}, {"cached_input_nano": "3"}, {"output_nano": ""}])
    def test_a_price_that_cannot_be_is_refused_by_the_form(self, staff, fields):
        assert staff.post(_url(ModelPrice, "add"), {**self.FORM, **fields}).status_code == 200
        assert not ModelPrice.objects.filter(model="m-1").exists()

    def test_history_is_not_changed(self, staff, workspace):
        price = ModelPrice.objects.get(model="m")
        assert staff.post(_url(ModelPrice, "change", price.pk), self.FORM).status_code == 403
        assert staff.post(_url(ModelPrice, "delete", price.pk), {"post": "yes"}).status_code == 403


class TestCredentials:
    @pytest.fixture(params=[StreamSecret, ApiKey], ids=["secret", "key"])
    def model(self, request, workspace):
        return request.param

    def _action(self, model, row, name: str) -> str:
        return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=[row.pk])

    def test_rotating_shows_the_new_secret_once(self, staff, model):
        old = model.objects.get()
        assert staff.get(self._action(model, old, "rotate")).status_code == 200
        assert model.objects.count() == 1
        reply = staff.post(self._action(model, old, "rotate"), {"overlap_s": 60})
        assert (reply.status_code, "no-store" in reply["Cache-Control"]) == (200, True)
        plain = re.search(r'<code id="secret"[^>]*>(\w+)</code>', reply.content.decode())[1]
        new = model.objects.exclude(pk=old.pk).get()
        assert vault.matches(plain, new.digest)
        assert new.name == old.name
        old.refresh_from_db()
        assert 50 < (old.expires_at - timezone.now()).total_seconds() <= 60
        assert plain not in staff.get(_url(model, "change", new.pk)).content.decode()
        assert plain not in LogEntry.objects.get().change_message

    @pytest.mark.parametrize("overlap", ["", "-1", "604801", "x"])
    def test_a_wrong_overlap_rotates_nothing(self, staff, model, overlap):
        assert staff.post(self._action(model, model.objects.get(), "rotate"), {"overlap_s": overlap}).status_code == 200
        assert model.objects.count() == 1

    def test_revoking_asks_first(self, staff, model):
        row = model.objects.get()
        assert staff.get(self._action(model, row, "revoke")).status_code == 200
        assert model.objects.get().revoked_at is None
        assert staff.post(self._action(model, row, "revoke")).status_code == 302
        assert model.objects.get().revoked_at is not None
        reply = staff.post(self._action(model, row, "rotate"), {"overlap_s": 60})
        assert (reply.status_code, model.objects.count()) == (200, 1)
        assert "create a new one instead" in reply.content.decode()

    def test_several_are_revoked_from_the_list(self, staff, model):
        row = model.objects.get()
        staff.post(_url(model, "changelist"), {"action": "revoke_selected", "_selected_action": [row.pk]})
        assert model.objects.get().revoked_at is not None
        assert LogEntry.objects.get().object_id == row.pk

    def test_who_may_only_look_may_not_act(self, model):
        client, row = _lesser(f"view_{model._meta.model_name}"), model.objects.get()
        for name in ("rotate", "revoke"):
            assert client.post(self._action(model, row, name), {"overlap_s": 60}).status_code == 403
        client.post(_url(model, "changelist"), {"action": "revoke_selected", "_selected_action": [row.pk]})
        assert (model.objects.count(), model.objects.get().revoked_at) == (1, None)

    def test_none_is_added_or_edited(self, staff, model):
        assert staff.get(_url(model, "add")).status_code == 403
        assert staff.post(_url(model, "change", model.objects.get().pk), {"name": "x"}).status_code == 403


class TestUsers:
    def test_staff_who_are_no_superuser_make_nobody_staff(self, workspace):
        customer = make.owner(workspace)
        client = _lesser("view_user", "change_user")
        form = {"name": "New", "is_active": "on", "is_staff": "on", "is_superuser": "on"}
        assert client.post(_url(User, "change", customer.pk), form).status_code == 302
        customer.refresh_from_db()
        assert (customer.name, customer.is_staff, customer.is_superuser) == ("New", False, False)

    def test_nor_do_they_change_a_superuser(self, staff):
        root = User.objects.get(email="root@example.com")
        client = _lesser("view_user", "change_user")
        assert client.post(_url(User, "change", root.pk), {"name": "New"}).status_code == 403
