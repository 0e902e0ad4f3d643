"""What the journeys need: a database of their own, a scripted provider, a server process and a client."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import psycopg
import pytest
from psycopg import sql

from helpmaton.stack import web
from tests.journeys.books import INPUT_NANO, MODEL, OUTPUT_NANO, Books
from tests.journeys.server import Server, manage, reserve_port
from tests.journeys.talk import Client
from tests.journeys.world import World
from tests.upstream.server import Upstream, scripted_upstream

Start = Callable[..., Server]


def database_url(name: str) -> str:
    """The test servers' URL with another database."""
    parts = urlsplit(os.environ["DATABASE_URL"])
    return urlunsplit(parts._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def stack() -> Iterator[dict[str, str]]:
    """The environment of a stack with a migrated database of its own: no other test's clean-up reaches it, and what is
    written stays written."""
    stack_name = f"{os.environ['STACK_NAME']}_j"
    name = f"test_{stack_name}"
    environment = {"STACK_NAME": stack_name, "DATABASE_URL": database_url(name)}
    with psycopg.connect(database_url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            done = manage(environment, "migrate", "-v", "0")
            assert done.returncode == 0, done.stderr
            with psycopg.connect(database_url(name), autocommit=True) as own:
                own.execute(
                    "INSERT INTO billing_modelprice (model, input_nano, output_nano, valid_from, source)"
                    " VALUES (%s, %s, %s, now(), 'test')",
                    [MODEL, INPUT_NANO, OUTPUT_NANO],
                )
            yield environment
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def books(stack: dict[str, str]) -> Iterator[Books]:
    opened = Books(stack["DATABASE_URL"])
    yield opened
    opened.close()


@pytest.fixture
def world(books: Books) -> World:
    return World(books)


@pytest.fixture(scope="session")
def upstream_port() -> Iterator[int]:
    """Where the scripted provider of this worker listens: servers that outlive a test know it by this."""
    with reserve_port() as held:
        yield held.getsockname()[1]


@pytest.fixture
async def upstream(upstream_port: int) -> AsyncIterator[Upstream]:
    async with scripted_upstream(port=upstream_port) as running:
        yield running


@pytest.fixture(scope="session")
def start_session_server(
    stack: dict[str, str], upstream_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Start]:
    """Starts servers that live until the worker's end."""
    started: list[Server] = []
    yield _starter(stack, upstream_port, tmp_path_factory.mktemp("servers"), started)
    for server in started:
        server.stop()


@pytest.fixture
async def start_server(stack: dict[str, str], upstream_port: int, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts servers that live until the test's end: `start_server(kind, arguments=…, tuned=…, **environment)`."""
    started: list[Server] = []
    yield _starter(stack, upstream_port, tmp_path, started)
    for server in started:
        await asyncio.to_thread(server.stop)  # it may talk to this very loop until its end


def _starter(stack: dict[str, str], upstream_port: int, folder: Path, started: list[Server]) -> Start:
    provider = {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
        "OPENAI_API_KEY": f"sk-{secrets.token_hex(8)}",
        "DEFAULT_MODEL": MODEL,
    }

    def start(
        kind: web.Server = "uvicorn", *, tuned: bool = False, arguments: tuple[str, ...] = (), **environment: str
    ) -> Server:
        log = folder / f"{kind}-{len(started)}.log"
        server = Server(kind, stack | provider | environment, log, tuned=tuned, arguments=arguments)
        started.append(server)
        return server

    return start


@pytest.fixture(scope="session")
def server(start_session_server: Start) -> Server:
    """A server with short time-outs that many tests share."""
    return start_session_server(tuned=True, TEST_IDLE_S="1.5")


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=20)) as made:
        yield made


@pytest.fixture
def client(session: aiohttp.ClientSession, server: Server, upstream: Upstream) -> Client:
    """Talks to the shared server."""
    return Client(session, server.url)


@pytest.fixture
async def nothing_is_left(world: World, books: Books, upstream: Upstream) -> AsyncIterator[None]:
    """No refusal reserves, asks the provider or writes a turn."""
    yield
    assert upstream.journal.exchanges == []
    assert (
        books.rows("SELECT id FROM billing_reservation WHERE account_id = %s AND state = 'pending'", world.workspace_id)
        == []
    )
    assert world.spent == 0
