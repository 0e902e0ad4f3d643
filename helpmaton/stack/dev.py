"""`bin/dev`: PostgreSQL, Valkey, web server and worker, from nothing to a first stream, in one command."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from helpmaton.stack import locks, postgres, surroundings, trial, valkey, web
from helpmaton.stack.failure import Failure
from helpmaton.stack.processes import Stopped, Supervisor
from helpmaton.stack.screen import Screen
from helpmaton.stack.surroundings import Stack

_HEALTHY_S = 60.0
# The web server finishes the streams it has; the worker its tasks.
_PATIENCE = {"web server": 30.0, "worker": 10.0}


def main() -> int:
    """Runs until Ctrl-C or SIGTERM (exit code 0), or fails with a sentence (1)."""
    options = _options()
    screen = Screen()
    supervisor = Supervisor()
    try:
        name = surroundings.name(check=options.check)
        port = web.free_port() if options.check else options.port
        stack = Stack(name, surroundings.ROOT / ".data" / name, options.host, port)
        with _only_one(stack), _running(stack, options, supervisor, screen) as demo:
            if options.check:
                screen.trial(trial.run(demo))
            else:
                screen.ready(stack, demo)
                _watch(supervisor, screen)
    except Stopped:
        screen.done("Stopped.")
    except Failure as problem:
        screen.failure(problem)
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bin/dev",
        description="Starts the whole product on this machine; Ctrl-C stops what it started. "
        "DATABASE_URL and REDIS_URL name servers of your own, STACK_NAME keeps several stacks on them apart.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="web processes (%(default)s)")
    parser.add_argument("--server", choices=web.SERVERS, default="uvicorn", help="web server (%(default)s)")
    parser.add_argument("--check", action="store_true", help="start on a free port, stream one answer, show it, stop")
    options = parser.parse_args()
    if options.workers < 1:
        parser.error("--workers must be at least 1")
    return options


@contextmanager
def _only_one(stack: Stack) -> Iterator[None]:
    """Two of one name would share data and queues: the second is refused."""
    try:
        with locks.alone(stack.folder / "lock") as note:
            note.write(f"pid {os.getpid()}, {stack.address}")
            note.flush()
            yield
    except locks.Busy as holder:
        raise Failure(
            f"The stack {stack.name!r} of this checkout is already running ({holder}): use that one, stop it, "
            "or set another STACK_NAME and --port."
        ) from None


@contextmanager
def _running(
    stack: Stack, options: argparse.Namespace, supervisor: Supervisor, screen: Screen
) -> Iterator[dict[str, Any]]:
    """Starts everything, yields the demo's addresses and secrets, and ends what was started, the servers last."""
    web_command = web.command(options.server, stack.host, stack.port, options.workers)
    web.refuse_port_in_use(stack.host, stack.port)
    with ExitStack() as ending:
        environment = _servers(stack, options.check, screen, ending)
        ending.callback(lambda: supervisor.end_all(_PATIENCE, screen.note))
        ending.callback(lambda: screen.done("Stopping …"))
        seeding = supervisor.start("seeding", _python("helpmaton.stack.seed"), environment, stack.logs / "seed.log")
        with screen.step("Migrations and demo") as step:
            if (stack.folder / "started").exists():
                # The tables are there from last time; the web server may start while the seed looks for news.
                supervisor.start("web server", web_command, environment, stack.logs / "web.log")
            supervisor.finish(seeding)
            demo = _demo(seeding.log)
            step("ready")
        with screen.step("Web server") as step:
            if not (stack.folder / "started").exists():
                supervisor.start("web server", web_command, environment, stack.logs / "web.log")
            supervisor.wait(lambda: web.is_healthy(stack.address), _HEALTHY_S, "The web server's start")
            step(f"{options.server} answers at {stack.address}")
        worker = [*_python("celery"), "-A", "helpmaton", "--quiet", "worker", "-B", "--concurrency", "2"]
        worker += ["--hostname", f"{stack.name}@%h", "--schedule", str(stack.folder / "beat")]
        # A line for each sweep would bury what the web server says.
        supervisor.start("worker", worker, {"LOG_LEVEL": "WARNING"} | environment, stack.logs / "worker.log")
        (stack.folder / "started").touch()
        yield demo


def _servers(stack: Stack, check: bool, screen: Screen, ending: ExitStack) -> dict[str, str]:
    """Starts the servers nobody named; returns the environment of the stack's processes."""
    database_url, redis_url = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
    with screen.step("PostgreSQL") as step:
        if database_url:
            step("the one of DATABASE_URL")
        else:
            server = postgres.run(stack.folder / "postgres")
            ending.callback(server.stop)
            database_url = server.database_url("{stack}")
            step("was still running, taken over" if server.found else "started")
        database_url = surroundings.database_of(database_url, stack.name, check=check)
        surroundings.create_database(database_url)
    with screen.step("Valkey") as step:
        if redis_url:
            step("the one of REDIS_URL")
        else:
            memory = valkey.run(stack.folder / "valkey")
            ending.callback(memory.stop)
            redis_url = memory.url
            step("was still running, taken over" if memory.found else "started")
    return surroundings.environment(stack, database_url, redis_url)


def _demo(log: Path) -> dict[str, Any]:
    """The JSON object that ends what the seeding wrote."""
    text = log.read_text()
    try:
        demo: dict[str, Any] = json.loads(text[text.index("{") :])
    except ValueError:
        raise Failure(f"The demo did not print its addresses:\n{text}") from None
    # It holds secrets that nothing needs any more.
    log.write_text("")
    return demo


def _watch(supervisor: Supervisor, screen: Screen) -> None:
    """Shows what the processes write until it is over. Raises Stopped, or Failure when one dies."""

    def show() -> bool:
        for name, line in supervisor.new_lines():
            screen.log(name, line)
        return False

    supervisor.wait(show)


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


if __name__ == "__main__":
    sys.exit(main())
