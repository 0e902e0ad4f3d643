"""The servers of a run: PostgreSQL, Valkey, the scripted provider, and whichever web server is being measured."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request

import psycopg
from psycopg import sql

from benchmarks import client
from helpmaton.stack import locks, postgres, surroundings, valkey, web
from helpmaton.stack.failure import Failure
from helpmaton.stack.processes import Process

NAME = "benchmarks"
WARM_UP = "scripted/slow?n=20&rate=0"
APPLICATIONS = {
    "helpmaton": "helpmaton.asgi:application",
    "relay": "benchmarks.relay:application",
    "stock": "benchmarks.stock:application",
    "stock_turns": "benchmarks.stock_turns:application",
}


@dataclass(frozen=True)
class World:
    """What is there for a whole run. `path` is the stream path with its secret, `accounts` are workspaces by name."""

    folder: Path
    database_url: str
    environment: dict[str, str]
    upstream_url: str
    path: str
    agent: str
    accounts: dict[str, str]


@dataclass(frozen=True)
class Server:
    """A running web server that has been warmed up."""

    pid: int
    port: int
    path: str

    def request(self, message: str) -> bytes:
        """The bytes that ask the agent `message`."""
        return client.request(self.port, self.path, message)


@contextmanager
def world() -> Iterator[World]:
    """Starts what no variable names, makes an empty database and seeds it. Raises Failure."""
    folder = surroundings.ROOT / ".data" / NAME
    with ExitStack() as ending:
        try:
            ending.enter_context(locks.alone(folder / "lock"))
        except locks.Busy:
            raise Failure("A benchmark of this checkout is already running.") from None
        database_url, redis_url = _servers(folder, ending)
        _make_database(database_url)
        upstream_url = _upstream(folder, ending)
        environment = {
            **surroundings.environment(surroundings.Stack(NAME, folder, "127.0.0.1", 8000), database_url, redis_url),
            "OPENAI_BASE_URL": upstream_url,
            "OPENAI_API_KEY": "benchmark",
            "DEFAULT_MODEL": "scripted/echo",
        }
        seeded = run_module("benchmarks.seed", environment=environment)
        yield World(folder, database_url, environment, upstream_url, **seeded)


def _servers(folder: Path, ending: ExitStack) -> tuple[str, str]:
    database_url, redis_url = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
    if database_url:
        database_url = _beside(database_url)
    else:
        database = postgres.run(folder / "postgres")
        ending.callback(database.stop)
        database_url = database.database_url(NAME)
    if not redis_url:
        memory = valkey.run(folder / "valkey", durable=False)
        ending.callback(memory.stop)
        redis_url = memory.url
    return database_url, redis_url


def _beside(url: str) -> str:
    """A database of our own on the server of `url`."""
    if "{stack}" in url or "%7Bstack%7D" in url:
        return surroundings.database_of(url, NAME, check=False)
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}_{NAME}"))


def _make_database(url: str) -> None:
    parts = urlsplit(url)
    name = sql.Identifier(unquote(parts.path.lstrip("/")))
    try:
        with psycopg.connect(urlunsplit(parts._replace(path="/postgres")), autocommit=True) as server:
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
            server.execute(sql.SQL("CREATE DATABASE {}").format(name))
            for setting in ("fsync", "synchronous_commit"):
                row = server.execute(sql.SQL("SHOW {}").format(sql.Identifier(setting))).fetchone()
                if row is None or row[0] != "on":
                    raise Failure(f"PostgreSQL runs with {setting} off: what it answers would mean nothing.")
    except psycopg.Error as problem:
        raise Failure(f"PostgreSQL: {str(problem).strip()}") from None


def _upstream(folder: Path, ending: ExitStack) -> str:
    port = web.free_port()
    command = [sys.executable, "-m", "tests.upstream.server", "--port", str(port)]
    process = Process("scripted provider", command, dict(os.environ), folder / "logs" / "upstream.log")
    ending.callback(process.end, 5)
    return f"http://127.0.0.1:{port}/v1"


def run_module(module: str, *arguments: str, environment: dict[str, str]) -> dict[str, Any]:
    """What `python -m module` prints: one JSON object. Raises Failure with the end of what it complained."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=surroundings.ROOT, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"{module} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@asynccontextmanager
async def serving(here: World, name: str) -> AsyncIterator[Server]:
    """A fresh server of one of APPLICATIONS: uvicorn as `bin/dev` starts it, warmed up by 64 short answers."""
    port = web.free_port()
    command = web.command("uvicorn", "127.0.0.1", port)
    command[command.index(APPLICATIONS["helpmaton"])] = APPLICATIONS[name]
    process = Process(name, command, here.environment, here.folder / "logs" / f"{name}.log")
    try:
        await _listening(process, port)
        server = Server(process.pid, port, here.path)
        warm = [await client.connect(port) for _ in range(16)]
        for _ in range(4):
            await asyncio.gather(*(one.ask(server.request(WARM_UP)) for one in warm))
        for one in warm:
            one.close()
        await asyncio.sleep(0.5)
        yield server
        if process.code() is not None:
            raise process.died()
    finally:
        process.end(0)


async def _listening(process: Process, port: int) -> None:
    for _ in range(600):
        if process.code() is not None:
            raise process.died()
        try:
            (await client.connect(port)).transport.close()
        except OSError:
            await asyncio.sleep(0.1)
        else:
            return
    raise Failure(f"The server {process.name} does not listen after 60 s.")


def journal(here: World, *, forget: bool = False) -> list[dict[str, Any]]:
    """What the scripted provider saw since it was last told to `forget`; times are of the monotonic clock."""
    url = here.upstream_url.removesuffix("/v1") + "/_journal"
    with web.direct().open(Request(url, method="DELETE" if forget else "GET")) as answer:
        seen: list[dict[str, Any]] = json.load(answer)
    return seen


def database_connections(here: World) -> int:
    """How many connections there are to the run's database, ours not counted."""
    with psycopg.connect(here.database_url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        ).fetchone()
        return row[0] if row else 0
