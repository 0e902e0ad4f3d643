"""One-time sign-in links, through the front door."""

import re
import time
from datetime import timedelta

import pytest
from django.conf import settings
from django.core import signing
from django.test import Client
from django.utils import timezone
from redis import Redis

from agents import sign_in
from agents.models import Agent, Membership, User, Workspace
from tests.billing.books import open_account

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh_counters() -> None:
    # This worker's own keys alone: clearing the cache would empty the whole server, under the other workers' feet.
    with Redis.from_url(settings.REDIS_URL) as redis:
        for key in redis.scan_iter(f"{settings.REDIS_PREFIX}cache*"):
            redis.delete(key)


@pytest.fixture
def user() -> User:
    return User.objects.create_user("ada@example.com")


def path_for(user: User) -> str:
    return sign_in.link(user, base_url="")


def is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_a_link_shows_a_button_and_signs_in_when_it_is_pressed(client: Client, user: User) -> None:
    path = path_for(user)
    for _ in range(2):  # a preview of the link burns nothing
        page = client.get(path)
        assert page.status_code == 200
        assert b"ada@example.com" in page.content
        assert not is_signed_in(client)
    assert client.post(path).headers["Location"] == "/"
    assert is_signed_in(client)
    assert b"Your workspaces" in client.get("/").content


def test_a_link_works_once(client: Client, user: User) -> None:
    path = path_for(user)
    client.post(path)
    other = Client()
    assert other.get(path).status_code == 403
    assert other.post(path).status_code == 403
    assert not is_signed_in(other)


def test_signing_in_uses_up_every_link_of_that_user(client: Client, user: User) -> None:
    first, second = path_for(user), path_for(user)
    client.post(second)
    assert Client().post(first).status_code == 403
    assert Client().post(path_for(User.objects.get(id=user.id))).status_code == 302, "a new link works"


def test_a_link_is_good_for_a_day(client: Client, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    path, now = path_for(user), signing.time.time()
    for age_s, status in [(sign_in.LIFETIME_S - 60, 200), (sign_in.LIFETIME_S + 60, 403)]:
        monkeypatch.setattr(signing.time, "time", lambda age_s=age_s: now + age_s)
        assert client.get(path).status_code == status


def test_a_user_who_may_not_sign_in_any_more_is_refused(client: Client, user: User) -> None:
    path = path_for(user)
    User.objects.update(is_active=False)
    assert client.post(path).status_code == 403


@pytest.mark.parametrize("change", [lambda t: t[:-1], lambda t: "x" + t, lambda t: t.split(":")[0], lambda t: "a:b:c"])
def test_a_forged_link_is_refused(client: Client, user: User, change) -> None:
    token = path_for(user).rsplit("/", 1)[1]
    page = client.post(f"/sign-in/{change(token)}")
    assert page.status_code == 403
    assert b"does not work" in page.content
    assert not is_signed_in(client)


def test_a_token_signed_for_something_else_is_refused(client: Client, user: User) -> None:
    assert client.post(f"/sign-in/{signing.dumps([user.id, ''], salt='another')}").status_code == 403


def test_pressing_the_button_needs_the_page(user: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    path = path_for(user)
    assert strict.post(path).status_code == 403
    assert not is_signed_in(strict)
    token = strict.get(path).context["csrf_token"]
    assert strict.post(path, {"csrfmiddlewaretoken": token}).status_code == 302


def test_the_eleventh_try_of_an_address_in_a_minute_waits(
    client: Client, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = path_for(user)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)  # the windows are fixed: no minute may end between the tries
    assert [client.get("/sign-in/guess").status_code for _ in range(10)] == [403] * 10
    late = client.post(path)
    assert late.status_code == 429
    assert late.headers["Retry-After"] == "60"
    assert not is_signed_in(client)
    assert client.get(path, REMOTE_ADDR="192.0.2.7").status_code == 200, "another address is not concerned"


def test_the_pages_are_not_kept_by_browsers_and_proxies(client: Client, user: User) -> None:
    for page in (client.get(path_for(user)), client.get("/")):
        assert "no-store" in page.headers["Cache-Control"]
        # Not "no-referrer": browsers then send `Origin: null` with a form, and Django refuses it.
        assert page.headers["Referrer-Policy"] == "same-origin"


def test_the_form_is_accepted_as_a_browser_sends_it(user: User) -> None:
    client = Client(enforce_csrf_checks=True)
    page = client.get(path_for(user))
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.content.decode())[1]
    form = {"csrfmiddlewaretoken": token}
    assert client.post(path_for(user), form, headers={"Origin": "null"}).status_code == 403
    assert client.post(path_for(user), form, headers={"Origin": "http://testserver"}).status_code == 302
    assert is_signed_in(client)


def test_home_shows_a_members_workspaces_and_nobody_elses(client: Client, user: User) -> None:
    own, foreign, gone = (Workspace.objects.get(id=open_account(1_500_000_000)) for _ in range(3))
    Workspace.objects.filter(id=gone.id).update(deleted_at=timezone.now() - timedelta(days=1))
    for workspace in (own, gone):
        Membership.objects.create(workspace=workspace, user=user, role="viewer")
    for workspace in (own, foreign, gone):
        Agent.objects.create(workspace=workspace, name=f"<b>{workspace.id}", model="simulated/echo-1")
    client.force_login(user)
    page = client.get("/").content.decode()
    assert "1.5 USD" in page
    assert f"&lt;b&gt;{own.id}" in page, "names are text, never markup"
    assert foreign.id not in page
    assert gone.id not in page
    assert "Staff admin" not in page


def test_home_tells_strangers_how_to_get_a_link(client: Client) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert b"manage.py demo --json" in page.content


def test_signing_out(client: Client, user: User) -> None:
    client.force_login(user)
    assert client.get("/sign-out").status_code == 405
    client.post("/sign-out")
    assert not is_signed_in(client)
