from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from agents import secrets, vault
from agents.models import ApiKey
from tests.agents import make

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace():
    return make.workspace()


def _refused(reply) -> bool:
    assert reply["WWW-Authenticate"] == "Bearer"
    return (reply.status_code, reply.json()["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_key_is_a_bearer_token(workspace, scheme):
    made = secrets.create_api_key(workspace, name="key", scopes=["read"])
    assert make.anonymous(Authorization=f"{scheme} {made.plain}").get(f"workspaces/{workspace.pk}").status_code == 200


def test_a_malformed_key_costs_no_query(workspace, django_assert_num_queries):
    plain = secrets.create_api_key(workspace, name="key", scopes=["read"]).plain
    stream_secret = vault.mint(vault.STREAM_SECRET).plain
    wrong = plain[:-1] + ("0" if plain[-1] != "0" else "1")
    for value in ("", "Bearer", "Bearer x", f"Bearer {wrong}", f"Basic {plain}", plain, f"Bearer {stream_secret}", "é"):
        api = make.anonymous(Authorization=value)
        with django_assert_num_queries(0):
            assert _refused(api.get(f"workspaces/{workspace.pk}")), value


def test_an_unknown_key_and_a_wrong_one_with_a_known_public_id(workspace):
    made = secrets.create_api_key(workspace, name="key", scopes=["read"])
    assert _refused(make.anonymous(Authorization=f"Bearer {vault.mint('hmk').plain}").get("workspaces"))
    body = made.plain[:16] + "0" * 32
    forged = body + vault._checksum(body)
    assert vault.public_id(forged, "hmk") == made.stored.public_id
    assert _refused(make.anonymous(Authorization=f"Bearer {forged}").get("workspaces"))


def test_expired_and_revoked_keys(workspace):
    api, key = make.bearer(workspace, "read", expires_at=timezone.now() + timedelta(hours=1))
    assert api.get("workspaces").status_code == 200
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now())
    assert _refused(api.get("workspaces"))
    api, key = make.bearer(workspace, "read")
    secrets.revoke(key)
    assert _refused(api.get("workspaces"))


def test_a_bad_key_is_not_made_good_by_a_session(workspace):
    api = make.session(make.owner(workspace))
    assert _refused(api.get("workspaces", Authorization="Bearer x"))


def test_last_use_is_written_once_a_minute(workspace):
    api, key = make.bearer(workspace, "read")
    api.get("workspaces")
    first = ApiKey.objects.get(pk=key.pk).last_used_at
    assert timezone.now() - first < timedelta(seconds=10)
    api.get("workspaces")
    assert ApiKey.objects.get(pk=key.pk).last_used_at == first
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=first - timedelta(seconds=61))
    api.get("workspaces")
    assert ApiKey.objects.get(pk=key.pk).last_used_at >= first


def test_a_session_needs_the_csrf_token_to_change_anything(workspace):
    client = Client(enforce_csrf_checks=True)
    client.force_login(make.owner(workspace))
    path = f"/api/workspaces/{workspace.pk}"
    assert client.get(path).status_code == 200
    reply = client.patch(path, {"name": "New"}, content_type="application/json")
    assert (reply.status_code, reply.json()["code"]) == (403, "permission_denied")
    client.cookies["csrftoken"] = token = "x" * 32
    reply = client.patch(path, {"name": "New"}, content_type="application/json", headers={"X-CSRFToken": token})
    assert reply.status_code == 200


def test_a_key_needs_no_csrf_token(workspace):
    made = secrets.create_api_key(workspace, name="key", scopes=["admin"])
    client = Client(enforce_csrf_checks=True)
    reply = client.patch(
        f"/api/workspaces/{workspace.pk}",
        {"name": "New"},
        content_type="application/json",
        headers={"Authorization": f"Bearer {made.plain}"},
    )
    assert reply.status_code == 200


def test_a_user_who_was_switched_off_is_out(workspace):
    who = make.owner(workspace)
    api = make.session(who)
    who.is_active = False
    who.save()
    assert _refused(api.get("workspaces"))
