"""The doctor on the tests' own servers, on broken ones, and with somebody buffering."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO

import pytest
import redis
from cryptography.fernet import Fernet
from django.core.management import call_command

from agents import demo
from agents.models import IdempotentReply, User
from billing.models import ModelPrice
from streams import doctor, tasks

pytestmark = pytest.mark.django_db


def examine(**options) -> dict[str, doctor.Finding]:
    return {each.name: each for each in doctor.examine(**{"stream_url": None, "production": False} | options)}


@pytest.fixture
def store(settings) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        yield client
        client.delete(tasks.LAST_SWEEP_KEY)


def test_real_parts_are_found_well(store: redis.Redis) -> None:
    store.set(tasks.LAST_SWEEP_KEY, time.time())
    found = examine()
    for name in ("clock", "cache", "channel layer", "sweep and beat", "default model"):
        assert found[name].status == "ok", found[name]
    assert found["broker"].status == "warn", "no worker runs here"
    assert found["proxy buffering"].status == "not tested"
    assert found["keys"].status in ("ok", "warn")


def test_it_leaves_nothing_behind(store: redis.Redis, settings) -> None:
    examine()
    assert list(store.scan_iter(f"{settings.REDIS_PREFIX}doctor*")) == []


@pytest.mark.parametrize(("age_s", "status"), [(5, "ok"), (61, "fail"), (None, "warn")])
def test_the_age_of_the_last_sweep(store: redis.Redis, age_s: int | None, status: str) -> None:
    if age_s is not None:
        store.set(tasks.LAST_SWEEP_KEY, time.time() - age_s)
    assert examine()["sweep and beat"].status == status


def test_a_part_that_is_away_is_a_finding_and_not_a_crash(settings, free_port: int) -> None:
    settings.REDIS_URL = settings.CELERY_BROKER_URL = f"redis://127.0.0.1:{free_port}/0"
    found = examine()
    assert {found[name].status for name in ("cache", "broker", "sweep and beat")} == {"fail"}
    assert found["clock"].status == "ok"


def test_keys_that_do_not_open_what_is_stored(settings) -> None:
    IdempotentReply.objects.create(
        caller="key_1",
        key="1",
        request_digest=b"1",
        status=201,
        sealed_body=Fernet(Fernet.generate_key()).encrypt(b"1"),
    )
    assert examine()["keys"].status == "fail"


def test_a_default_model_without_a_price(settings) -> None:
    ModelPrice.objects.filter(model=settings.DEFAULT_MODEL).delete()
    assert examine()["default model"].status == "fail"


def test_production_refuses_the_demo_and_what_only_development_may(settings) -> None:
    User.objects.create_user(demo.EMAIL)
    settings.DEBUG, settings.DEMO, settings.PUBLIC_URL = True, False, "http://example.com"
    found = examine(production=True)
    assert {found[name].status for name in ("debug", "demo", "https")} == {"fail"}
    assert "embedded servers" in found

    User.objects.update(is_active=False)
    settings.DEBUG, settings.PUBLIC_URL, settings.STREAM_URL = False, "https://example.com", "https://example.com"
    found = examine(production=True)
    assert {found[name].status for name in ("debug", "demo", "https")} == {"ok"}
    settings.DEMO = True
    assert examine(production=True)["demo"].status == "fail"


@pytest.mark.parametrize(
    ("name", "value"),
    [("REDIS_URL", "unix:///srv/app/.data/valkey/socket"), ("HOST", "/srv/app/.data/postgres")],
)
def test_production_refuses_embedded_servers(name: str, value: str, settings, monkeypatch) -> None:
    if name == "HOST":
        monkeypatch.setitem(settings.DATABASES["default"], "HOST", value)
    else:
        setattr(settings, name, value)
    assert examine(production=True)["embedded servers"].status == "fail"


class Speaker(BaseHTTPRequestHandler):
    """Answers a stream of ten words, at once or one after another, as the path says."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/away":
            self.send_error(503)
            return
        self.send_response(200)
        self.end_headers()
        for _ in range(10):
            self.wfile.write(b'data: {"type":"text-delta","textDelta":"word "}\n\n')
            if self.path == "/flowing":
                time.sleep(0.02)

    def log_message(self, *arguments) -> None:
        pass


@pytest.mark.parametrize(("path", "status"), [("/flowing", "ok"), ("/buffered", "fail"), ("/away", "fail")])
def test_a_proxy_that_buffers_is_found(path: str, status: str) -> None:
    with HTTPServer(("127.0.0.1", 0), Speaker) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        finding = examine(stream_url=f"http://127.0.0.1:{server.server_port}{path}")["proxy buffering"]
        server.shutdown()
        thread.join()
    assert finding.status == status, finding


def test_the_command_prints_json_and_exits_1_on_a_failure(settings) -> None:
    settings.PUBLIC_URL = "http://example.com"
    out = StringIO()
    with pytest.raises(SystemExit, match="1"):
        call_command("doctor", "--json", "--production", stdout=out)
    shown = json.loads(out.getvalue())
    assert shown["ok"] is False
    assert {"name", "status", "detail"} == set(shown["checks"][0])
    out = StringIO()
    with pytest.raises(SystemExit, match="1"):
        call_command("doctor", "--production", stdout=out)
    assert "must be https" in " ".join(out.getvalue().split())
