"""The environment of the tests, loaded by pytest before Django's settings (`-p tests.environment` in pyproject.toml).

Each run has a stack name of its own and each worker of a run another one: database, Redis keys, queues and channels
follow from it, so that runs may go on at the same time on the same servers. Unless DATABASE_URL and REDIS_URL name
servers, both come from wheels, live under `.data/test-servers` and forget everything when the last run that uses them
is over.
"""

import os
import secrets
from base64 import urlsafe_b64encode
from pathlib import Path

import psycopg
import pytest
import redis
from psycopg import sql

from helpmaton.stack import locks, postgres, valkey

_FOLDER = Path(__file__).resolve().parent.parent / ".data" / "test-servers"  # no stack name has a hyphen

# What a developer may have in the shell and a test must not see.
_FOREIGN = (
    "ALLOWED_HOSTS",
    "DEBUG",
    "DEFAULT_MODEL",
    "EMAIL_URL",
    "HELPMATON_DEMO",
    "LOG_LEVEL",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "PUBLIC_URL",
    "SENTRY_DSN",
    "STREAM_URL",
    "TRUSTED_PROXIES",
)


class Servers:
    """The servers of the test runs of this checkout: the first run starts them, the last one stops them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._users = locks.Share(folder / "users.lock")

    def acquire(self) -> None:
        """Sets DATABASE_URL and REDIS_URL where they are missing."""
        with locks.waiting(self._folder / "start.lock"):
            alone = self._users.is_only_holder()
            if "DATABASE_URL" not in os.environ:
                database = postgres.run(self._folder / "postgres", durable=False)
                if alone and database.found:
                    _drop_leftovers(database.database_url("postgres"))
                os.environ["DATABASE_URL"] = database.database_url("{stack}")
            if "REDIS_URL" not in os.environ:
                memory = valkey.run(self._folder / "valkey", durable=False)
                if alone and memory.found:
                    redis.Redis.from_url(memory.url).flushall()
                os.environ["REDIS_URL"] = memory.url

    def release(self) -> None:
        """Stops what runs, unless another run still needs it."""
        with locks.waiting(self._folder / "start.lock"):
            if self._users.is_only_holder():
                for server in (postgres.running(self._folder / "postgres"), valkey.running(self._folder / "valkey")):
                    if server:
                        server.stop()
            self._users.leave()


def _drop_leftovers(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for (name,) in connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'test\\_%'").fetchall():
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _forget_keys(url: str, prefix: str) -> None:
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter(match=f"{prefix}*", count=1000):
            client.delete(key)


def _prepare() -> Servers | None:
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker:
        os.environ["STACK_NAME"] = f"{os.environ['STACK_NAME']}_{worker}"
        return None
    for name in _FOREIGN:
        os.environ.pop(name, None)
    os.environ["STACK_NAME"] = f"run{os.getpid()}"
    os.environ["SECRET_KEY"] = secrets.token_urlsafe(32)
    os.environ["FIELD_ENCRYPTION_KEYS"] = urlsafe_b64encode(secrets.token_bytes(32)).decode()
    servers = Servers(_FOLDER)
    servers.acquire()
    return servers


_servers = _prepare()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """The run is over: its keys go, and with the last run the servers."""
    if _servers:
        _forget_keys(os.environ["REDIS_URL"], os.environ["STACK_NAME"])
        _servers.release()
