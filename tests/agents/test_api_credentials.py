from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from agents import secrets, vault
from agents.models import ApiKey, StreamSecret
from tests.agents import make

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace():
    return make.workspace()


@pytest.fixture
def api(workspace):
    return make.session(make.owner(workspace))


@pytest.fixture(params=["stream-secrets", "api-keys"])
def kind(request, workspace):
    """The path, the model and a body of what both kinds of credential share."""
    if request.param == "api-keys":
        return f"workspaces/{workspace.pk}/api-keys", ApiKey, {"name": "key", "scopes": ["read"]}
    return f"workspaces/{workspace.pk}/agents/{make.agent(workspace).pk}/stream-secrets", StreamSecret, {"name": "key"}


def _near(text: str, when: datetime) -> bool:
    assert text.endswith("Z")
    return abs(datetime.fromisoformat(text) - when) < timedelta(seconds=10)


def test_the_secret_is_in_the_reply_and_nowhere_else(api, kind):
    path, model, body = kind
    reply = api.post(path, body)
    assert (reply.status_code, reply["Cache-Control"]) == (201, "no-store")
    made = reply.json()
    plain = made.pop("secret")
    assert plain.startswith(made["prefix"])
    assert vault.public_id(plain, plain[:3]) is not None
    stored = model.objects.get(pk=made["id"])
    assert vault.matches(plain, stored.digest)
    assert plain not in str(model.objects.filter(pk=stored.pk).values().get())
    listed = api.get(path)
    assert listed.json()["data"] == [made]
    assert plain not in listed.content.decode()
    assert stored.digest.hex() not in listed.content.decode()


def test_rotating_leaves_the_old_one_for_a_day(api, kind):
    path, model, body = kind
    old = api.post(path, body).json()
    new = api.post(f"{path}/{old['id']}/rotate").json()
    assert new["secret"] != old["secret"]
    assert (new["name"], new["expires_at"]) == (old["name"], None)
    shown = {row["id"]: row for row in api.get(path).json()["data"]}
    assert list(shown) == [new["id"], old["id"]]
    assert _near(shown[old["id"]]["expires_at"], timezone.now() + timedelta(days=1))
    if model is StreamSecret:
        assert len(set(StreamSecret.objects.values_list("lineage", flat=True))) == 1
    else:
        assert new["scopes"] == old["scopes"]


def test_the_overlap_never_lengthens_a_life(api, kind):
    path, _, body = kind
    ends = timezone.now() + timedelta(hours=1)
    old = api.post(path, {**body, "expires_at": ends.isoformat()}).json()
    new = api.post(f"{path}/{old['id']}/rotate", {"overlap_s": 604_800}).json()
    assert _near(new["expires_at"], ends)
    shown = {row["id"]: row for row in api.get(path).json()["data"]}
    assert _near(shown[old["id"]]["expires_at"], ends)


def test_no_overlap_ends_the_old_one_at_once(api, kind):
    path, model, body = kind
    old = api.post(path, body).json()
    assert api.post(f"{path}/{old['id']}/rotate", {"overlap_s": 0}).status_code == 201
    assert model.objects.get(pk=old["id"]).expires_at <= timezone.now()
    reply = api.post(f"{path}/{old['id']}/rotate")
    assert (reply.status_code, reply.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize("overlap", [-1, 604_801, "60", 1.5, None, True])
def test_an_overlap_out_of_bounds(api, kind, overlap):
    path, _, body = kind
    old = api.post(path, body).json()
    reply = api.post(f"{path}/{old['id']}/rotate", {"overlap_s": overlap})
    assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (400, "/overlap_s")


def test_a_revoked_one_is_gone(api, kind):
    path, model, body = kind
    made = api.post(path, body).json()
    assert api.delete(f"{path}/{made['id']}").status_code == 204
    assert api.get(path).json()["data"] == []
    assert api.delete(f"{path}/{made['id']}").status_code == 404
    assert api.post(f"{path}/{made['id']}/rotate").status_code == 404
    assert model.objects.get(pk=made["id"]).revoked_at is not None


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "a\x00"}, "/name"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires_at": "2999-01-01T00:00:00"}, "/expires_at"),
        ({"expires_at": "tomorrow"}, "/expires_at"),
        ({"expires_at": 4_000_000_000}, "/expires_at"),
        ({"digest": "x"}, "/digest"),
    ],
)
def test_wrong_fields(api, kind, fields, pointer):
    path, model, body = kind
    reply = api.post(path, {**body, **fields})
    assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (400, pointer)
    assert model.objects.count() == 0


def test_an_expiry_is_told_in_utc(api, kind):
    path, _, body = kind
    made = api.post(path, {**body, "expires_at": "2999-01-01T02:00:00+02:00"}).json()
    assert made["expires_at"] == "2999-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("scopes", "pointer"),
    [
        ([], "/scopes"),
        (["everything"], "/scopes/0"),
        ("read", "/scopes"),
        (["read", 1], "/scopes/1"),
        (None, "/scopes"),
    ],
)
def test_wrong_scopes(api, workspace, scopes, pointer):
    reply = api.post(f"workspaces/{workspace.pk}/api-keys", {"name": "key", "scopes": scopes})
    assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (400, pointer)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://example.com", "https://example.com"),
        ("HTTPS://Example.COM", "https://example.com"),
        ("https://example.com:443", "https://example.com"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("https://*.example.com", "https://*.example.com"),
        ("https://*.example.com:8443", "https://*.example.com:8443"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("*", "*"),
    ],
)
def test_origins_as_browsers_write_them(given, kept):
    assert secrets.origin(given) == kept


@pytest.mark.parametrize(
    "text",
    [
        "example.com", "https://", "https://example.com/", "https://example.com/path", "https://a b.com", "https://*",
        "ftp://example.com", "https://user@example.com", "https://example.com:0", "https://example.com:65536", "null",
        "https://example.com:", "http://*.example.com", "https://*.com", "https://a.*.com", "https://-a.com",
        "https://bücher.example", "https://example.com?x", "https://example.com#x", "https://example.com\n", "**", "",
    ],
)  # fmt: skip
def test_what_is_no_origin(text):
    with pytest.raises(ValueError, match="An origin reads"):
        secrets.origin(text)


def test_origins_of_a_secret(api, workspace):
    path = f"workspaces/{workspace.pk}/agents/{make.agent(workspace).pk}/stream-secrets"
    made = api.post(path, {"name": "site", "allowed_origins": ["https://A.com", "https://a.com:443", "*"]}).json()
    assert made["allowed_origins"] == ["https://a.com", "*"]
    rotated = api.post(f"{path}/{made['id']}/rotate").json()
    assert rotated["allowed_origins"] == made["allowed_origins"]
    wrong = api.post(path, {"name": "site", "allowed_origins": ["https://a.com", "https://a.com/x"]})
    assert [(error["pointer"], error["code"]) for error in wrong.json()["errors"]] == [
        ("/allowed_origins/1", "invalid_origin")
    ]
    many = api.post(path, {"name": "site", "allowed_origins": [f"https://a{n}.com" for n in range(51)]})
    assert many.json()["errors"][0]["pointer"] == "/allowed_origins"


def test_who_made_a_key_is_kept(api, workspace):
    api.post(f"workspaces/{workspace.pk}/api-keys", {"name": "mine", "scopes": ["admin"]})
    assert ApiKey.objects.get().created_by == make.owner(workspace)
    by_key, _ = make.bearer(workspace, "admin")
    by_key.post(f"workspaces/{workspace.pk}/api-keys", {"name": "its", "scopes": ["read"]})
    assert ApiKey.objects.get(name="its").created_by is None
    assert datetime.now(UTC) >= ApiKey.objects.get(name="its").created_at
