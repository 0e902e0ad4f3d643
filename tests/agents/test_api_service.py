import pytest
import yaml
from django.core.cache import cache
from django.core.management import call_command
from django.db import DatabaseError, connection
from redis import ConnectionError as RedisConnectionError

from tests.agents import make, routes


@pytest.mark.django_db
class TestHealth:
    def test_all_is_well(self):
        for path in ("health", "health/"):
            reply = make.anonymous().get(path)
            assert (reply.status_code, reply.json()) == (200, {"status": "ok", "database": "ok", "redis": "ok"})

    def test_a_wrong_credential_is_not_looked_at(self):
        assert make.anonymous(Authorization="Bearer nonsense").get("health").status_code == 200

    def test_without_redis(self, settings):
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}}
        reply = make.anonymous().get("health")
        assert reply.status_code == 503
        assert reply.json() == {"status": "unavailable", "database": "ok", "redis": "unavailable"}

    def test_without_a_database(self, monkeypatch):
        def gone() -> None:
            raise DatabaseError("password=hunter2")

        monkeypatch.setattr(connection, "cursor", gone)
        reply = make.anonymous().get("health")
        assert reply.status_code == 503
        assert reply.json() == {"status": "unavailable", "database": "unavailable", "redis": "ok"}
        assert "hunter2" not in reply.content.decode()

    def test_a_cache_that_fails_otherwise_is_unavailable_too(self, monkeypatch):
        def cut(key: str) -> None:
            raise RedisConnectionError("cut")

        monkeypatch.setattr(cache, "get", cut)
        assert make.anonymous().get("health").json()["redis"] == "unavailable"


def test_the_version_is_told_to_anybody(settings):
    reply = make.anonymous().get("version")
    assert reply.json() == {"version": settings.VERSION, "api_version": settings.API_VERSION}


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    """The schema as the command writes it; a warning fails the command."""
    file = tmp_path_factory.mktemp("schema") / "schema.yaml"
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(file))
    return yaml.safe_load(file.read_text())


METHODS = {"get", "post", "patch", "put", "delete"}


def _operations(schema):
    """Those of the REST API; streams answer in ways of their own."""
    return [
        (path, method, details)
        for path, methods in schema["paths"].items()
        for method, details in methods.items()
        if method in METHODS and not path.startswith("/api/streams/")
    ]


class TestSchema:
    def test_it_is_openapi_3_1_and_knows_every_operation(self, schema):
        assert schema["openapi"].startswith("3.1")
        described = {(method.upper(), path) for path, method, _ in _operations(schema)}
        for operation in routes.operations():
            path = "/api/" + operation.pattern.replace("<str:", "{").replace(">", "}")
            assert (operation.method, path) in described

    def test_every_post_may_bear_an_idempotency_key(self, schema):
        posts = [details for _, method, details in _operations(schema) if method == "post"]
        assert posts
        for details in posts:
            assert "Idempotency-Key" in [parameter["name"] for parameter in details["parameters"]]

    def test_every_refusal_is_a_problem(self, schema):
        for path, method, details in _operations(schema):
            for status, response in details["responses"].items():
                if int(status) >= 400 and path != "/api/health":
                    content = response["content"]["application/problem+json"]["schema"]
                    assert content == {"$ref": "#/components/schemas/Problem"}, (path, method, status)

    def test_money_is_a_string_with_a_pattern(self, schema):
        schemas = schema["components"]["schemas"]
        for name, field in (("Credits", "available"), ("Transaction", "amount"), ("Turn", "cost"), ("Price", "input")):
            described = schemas[name]["properties"][field]
            assert (described["type"], described["pattern"]) == ("string", r"^-?\d+(\.\d{1,9})?$"), name

    def test_no_operation_tells_what_only_its_author_wants_to_know(self, schema):
        assert [path for path, _, details in _operations(schema) if "description" in details] == []

    def test_bodies_take_no_other_fields_than_those_described(self, schema):
        assert "version" not in schema["components"]["schemas"]["AgentInput"]["properties"]

    @pytest.mark.django_db
    def test_it_and_its_page_are_served_to_anybody_from_here(self):
        reply = make.anonymous().get("schema")
        assert reply.status_code == 200
        assert yaml.safe_load(reply.content)["info"]["title"] == "Helpmaton"
        page = make.anonymous().get("docs")
        assert page.status_code == 200
        assert "/static/drf_spectacular_sidecar/" in page.content.decode()
        assert "https://cdn" not in page.content.decode()
