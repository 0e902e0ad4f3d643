"""`bin/dev`: what a newcomer types, and what happens to it."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import psycopg
import pytest
import redis

from helpmaton.stack import web
from helpmaton.stack.surroundings import ROOT, database_of
from tests.tooling.dev_process import Dev, remove, still_running

STREAM_PATH = re.compile(r"/api/streams/(ws_\w+)/(ag_\w+)/(\w+)")


@pytest.fixture
def name():
    """A stack name nobody else has; its folder is gone afterwards, and whatever still ran is a failure."""
    name = f"tooling{os.getpid()}"
    yield name
    left = [line for one in (name, f"check_{name}") for line in still_running(one)]
    remove(name)
    remove(f"check_{name}")
    assert left == []


def test_the_check_streams_one_answer_and_shows_what_it_cost(name, tmp_path):
    dev = Dev(name, tmp_path, "--check")
    assert dev.wait() == 0, dev.printed()
    printed = dev.printed()
    assert "Which notebooks do you sell?" in printed
    assert re.search(r"led_\w+ +charge +-0\.\d+ USD +balance 9\.\d+ USD", printed)
    assert "Everything works." in printed


def test_the_printed_line_streams_and_a_second_start_is_refused_and_a_crash_is_survived(name, tmp_path):
    port = str(web.free_port())
    first = Dev(name, tmp_path, "--port", port)
    printed = first.wait_for("Ctrl-C stops everything.")
    answer = curl(printed)
    assert '"type":"text-delta"' in answer
    assert '"type":"done"' in answer

    second = Dev(name, tmp_path, "--port", str(web.free_port()))
    assert second.wait() == 1
    assert f"already running (pid {first.process.pid}, http://127.0.0.1:{port})" in second.printed()

    first.process.send_signal(signal.SIGKILL)
    first.wait()
    wait_until(lambda: not web.is_healthy(f"http://127.0.0.1:{port}"))

    third = Dev(name, tmp_path, "--port", port, "--server", "daphne")
    printed = third.wait_for("Ctrl-C stops everything.")
    assert printed.count("was still running, taken over") == 2
    assert '"type":"done"' in curl(printed)

    web_server = next(pid for pid, line in third.children().items() if "daphne" in line)
    os.kill(web_server, signal.SIGKILL)
    assert third.wait() == 1
    assert "The web server was ended by SIGKILL" in third.printed()


def test_ctrl_c_while_it_starts_leaves_nothing_behind(name, tmp_path):
    dev = Dev(name, tmp_path, "--port", str(web.free_port()))
    dev.wait_for("Valkey")
    dev.process.send_signal(signal.SIGINT)
    assert dev.wait() == 0
    assert "Stopped." in dev.printed()


def test_two_stacks_on_one_postgres_and_one_valkey_do_not_meet(name, tmp_path):
    servers = {"DATABASE_URL": os.environ["DATABASE_URL"], "REDIS_URL": os.environ["REDIS_URL"]}
    names = [f"{name}_a", f"{name}_b"]
    stacks = [Dev(one, tmp_path, "--port", str(web.free_port()), servers=servers) for one in names]
    try:
        printed = [stack.wait_for("Ctrl-C stops everything.", 120) for stack in stacks]
        (url_a, path_a), (url_b, path_b) = ((base(text), STREAM_PATH.search(text)) for text in printed)
        assert path_a[1] != path_b[1]
        assert post(url_a + path_a[0]) == 200
        assert post(url_b + path_a[0]) == 401
        assert post(url_a + path_b[0]) == 401

        # Each sees its own worker alone, and every key carries the name of one stack.
        for one in names:
            wait_until(lambda one=one: workers_seen_by(one, servers) == [one], 60)
        with redis.Redis.from_url(servers["REDIS_URL"], decode_responses=True) as client:
            words = [*client.scan_iter(count=1000), *client.pubsub_channels()]
        assert all(any(f"{one}:" in word for word in words) for one in names)
        foreign = [word for word in words if not word.startswith((*(f"{one}:" for one in names), "run"))]
        assert foreign == []
    finally:
        codes = [stack.stop() for stack in stacks]
        left = [line for one in names for line in still_running(one)]
        forget(names, servers)
    assert codes == [0, 0]
    assert left == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--server", "daphne", "--workers", "2"], "daphne has one process only"),
        (["--workers", "0"], "--workers must be at least 1"),
        (["--server", "nginx"], "invalid choice: 'nginx'"),
        (["--port", "99999"], "Port 99999 on 127.0.0.1 cannot be used"),
        (["--host", "203.0.113.7"], "on 203.0.113.7 cannot be used"),
    ],
)
def test_what_cannot_be_is_one_sentence(name, tmp_path, arguments, sentence):
    dev = Dev(name, tmp_path, *arguments)
    assert dev.wait() != 0
    assert sentence in dev.printed()
    assert "Traceback" not in dev.printed()


def test_a_port_in_use_is_one_sentence(name, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        dev = Dev(name, tmp_path, "--port", str(port))
        assert dev.wait() == 1
    assert f"Port {port} on 127.0.0.1 cannot be used (Address already in use)" in dev.printed()


def test_a_name_that_cannot_be_a_stack_is_refused(tmp_path):
    dev = Dev("Not A Name", tmp_path)
    assert dev.wait() == 1
    assert dev.printed().startswith("✗ STACK_NAME must be")


def test_a_server_that_cannot_be_reached_is_named(name, tmp_path):
    servers = {"DATABASE_URL": f"postgresql://nobody@127.0.0.1:{web.free_port()}/{{stack}}"}
    dev = Dev(name, tmp_path, "--port", str(web.free_port()), servers=servers)
    assert dev.wait() == 1
    assert "DATABASE_URL: connection failed" in dev.printed()
    assert "Traceback" not in dev.printed()


@pytest.mark.parametrize(
    ("url", "check", "database"),
    [
        ("postgresql://u@h/{stack}", False, "postgresql://u@h/blue"),
        ("postgresql://u@h/{stack}", True, "postgresql://u@h/blue"),
        ("postgresql://u@h/live?sslmode=require", False, "postgresql://u@h/live?sslmode=require"),
        ("postgresql://u@h/live?sslmode=require", True, "postgresql://u@h/live_check?sslmode=require"),
    ],
)
def test_a_check_never_works_on_the_database_that_was_named(url, check, database):
    assert database_of(url, "blue", check=check) == database


def curl(printed: str) -> str:
    """Runs the line that `bin/dev` printed, as it was printed."""
    line = next(line.strip() for line in printed.splitlines() if line.strip().startswith("curl "))
    return subprocess.run(shlex.split(line), capture_output=True, text=True, check=True, timeout=60).stdout


def base(printed: str) -> str:
    return re.search(r"http://127\.0\.0\.1:\d+", printed)[0]


def post(url: str) -> int:
    request = urllib.request.Request(url, json.dumps({"message": "Hello"}).encode())
    request.add_header("Content-Type", "application/json")
    try:
        with web.direct().open(request, timeout=30) as answer:
            answer.read()
            return answer.status
    except urllib.error.HTTPError as refusal:
        return refusal.code


def workers_seen_by(name: str, servers: dict[str, str]) -> list[str]:
    """The stacks whose workers answer a ping that is sent with the settings of the stack `name`."""
    command = [sys.executable, "-m", "celery", "-A", "helpmaton", "inspect", "ping", "--json", "--timeout", "5"]
    environment = {**os.environ, **servers, "STACK_NAME": name}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    # Celery says "no nodes replied" with an exit code of its own.
    return sorted(node.split("@")[0] for node in json.loads(done.stdout)) if done.returncode == 0 else []


def wait_until(true, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def forget(names: list[str], servers: dict[str, str]) -> None:
    url = database_of(servers["DATABASE_URL"], "postgres", check=False)
    with psycopg.connect(url, autocommit=True) as connection:
        for one in names:
            connection.execute(f"DROP DATABASE IF EXISTS {one} WITH (FORCE)")
    with redis.Redis.from_url(servers["REDIS_URL"]) as client:
        for one in names:
            for key in client.scan_iter(match=f"{one}:*", count=1000):
                client.delete(key)
    for one in names:
        remove(one)
