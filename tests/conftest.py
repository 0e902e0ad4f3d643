"""Fixtures that more than one folder of tests needs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.db import connection
from django.db.models.signals import post_migrate
from psycopg import sql

from helpmaton.stack import web
from tests.live import LiveServer

_OUR_APPS = ("billing", "agents", "throttling", "streams")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker) -> None:
    """Keeps a copy of what the migrations seed: a transactional test ends with all tables emptied, and plans and prices
    have to be back for the next one.
    """
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA IF NOT EXISTS seeded")
        for table in _our_tables():
            cursor.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(table)))
            if cursor.fetchone()[0]:
                names = {"copy": sql.Identifier("seeded", table), "table": sql.Identifier(table)}
                cursor.execute(sql.SQL("DROP TABLE IF EXISTS {copy}").format(**names))
                cursor.execute(sql.SQL("CREATE TABLE {copy} AS TABLE {table}").format(**names))
    # Emptying the tables is followed by this signal.
    post_migrate.connect(_seed_again, sender=apps.get_app_config("billing"))


def _our_tables() -> list[str]:
    return [model._meta.db_table for app in _OUR_APPS for model in apps.get_app_config(app).get_models()]


def _seed_again(**signal) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'seeded'")
        for (table,) in cursor.fetchall():
            insert = sql.SQL("INSERT INTO {} TABLE {} ON CONFLICT DO NOTHING")
            cursor.execute(insert.format(sql.Identifier(table), sql.Identifier("seeded", table)))


@pytest.fixture
def free_port() -> int:
    """A port on 127.0.0.1 that nobody listened on a moment ago."""
    return web.free_port()


@pytest.fixture
def live_server_process(transactional_db, tmp_path: Path) -> Iterator[Callable[..., LiveServer]]:
    """Starts the product as its own process, on this test's database, Redis prefix and a free port.

    Called as `live_server_process(server="uvicorn", workers=1, **environment)`; the environment is added to the tests'
    own, None takes a variable out. Returns a `LiveServer` whose health has answered. What still runs when the test is
    over gets SIGTERM, and fails the test unless it ends in time.
    """
    started: list[LiveServer] = []

    def start(server: web.Server = "uvicorn", workers: int = 1, **environment: str | None) -> LiveServer:
        live = LiveServer(server, workers, environment, tmp_path / f"server-{len(started)}.log")
        started.append(live)
        live.wait_until_healthy()
        return live

    yield start
    ended = [live.end_or_kill() for live in started]
    assert all(ended), "a server did not end within its time after SIGTERM"
