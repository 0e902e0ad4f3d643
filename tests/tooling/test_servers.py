"""The embedded servers: real ones, started, stopped, killed and found again."""

import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from helpmaton.stack import locks, postgres, servers, valkey
from helpmaton.stack.failure import Failure
from helpmaton.stack.surroundings import ROOT

# What `bin/dev` leaves when it is killed: servers running, nobody to stop them.
START_AND_VANISH = """
import os, sys
from pathlib import Path
from helpmaton.stack import postgres, valkey
print(sys.modules[f"helpmaton.stack.{sys.argv[1]}"].run(Path(sys.argv[2])).pid, flush=True)
os._exit(0)
"""


def start_and_vanish(kind: str, folder: Path) -> int:
    command = [sys.executable, "-c", START_AND_VANISH, kind, str(folder)]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def note(url: str, text: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS note (text text)")
        connection.execute("INSERT INTO note VALUES (%s)", [text])


def notes(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [text for (text,) in connection.execute("SELECT text FROM note ORDER BY text").fetchall()]


@pytest.fixture
def deep(tmp_path):
    """A folder whose path is longer than a Unix socket's may be, with what a shell would trip over."""
    folder = tmp_path / ("a 'checkout' " + "far " * 30) / "data"
    folder.mkdir(parents=True)
    assert len(str(folder)) > 107
    return folder


def test_postgres_keeps_its_data_over_a_stop_and_a_crash(deep):
    first = postgres.run(deep)
    note(first.database_url("postgres"), "before the stop")
    first.stop()
    assert postgres.running(deep) is None

    second = postgres.run(deep)
    note(second.database_url("postgres"), "before the crash")
    servers.end("PostgreSQL", second.pid, signal.SIGKILL, 5)

    third = postgres.run(deep)
    assert notes(third.database_url("postgres")) == ["before the crash", "before the stop"]
    assert not third.found
    third.stop()


def test_postgres_that_was_left_running_is_taken_over_and_stopped(tmp_path):
    pid = start_and_vanish("postgres", tmp_path)
    found = postgres.run(tmp_path)
    assert found.found
    assert found.pid == pid
    found.stop()
    assert not Path(f"/proc/{pid}").exists()
    assert postgres.running(tmp_path) is None


def test_postgres_admits_nobody_without_the_password(tmp_path):
    server = postgres.run(tmp_path)
    port = server.url.rsplit(":", 1)[1]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://helpmaton:wrong@127.0.0.1:{port}/postgres")
    server.stop()


def test_postgres_does_not_run_as_root_nor_with_few_connections(tmp_path):
    server = postgres.run(tmp_path, durable=False)
    assert Path(f"/proc/{server.pid}").stat().st_uid != 0
    with psycopg.connect(server.database_url("postgres")) as connection:
        (most,) = connection.execute("SHOW max_connections").fetchone()
    assert int(most) == 300
    server.stop()


def test_data_of_another_postgres_version_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(Failure, match=r"was made by PostgreSQL 12, this is \d+: move it away"):
        postgres.run(tmp_path)


def test_a_postgres_that_cannot_start_says_why(tmp_path):
    postgres.run(tmp_path).stop()
    (tmp_path / "data" / "postgresql.conf").write_text("nonsense = here\n")
    with pytest.raises(Failure, match='unrecognized configuration parameter "nonsense"'):
        postgres.run(tmp_path)


def test_valkey_keeps_its_data_over_a_stop_and_a_crash(deep):
    first = valkey.run(deep)
    with redis.Redis.from_url(first.url) as client:
        client.set("kept", "yes")
    first.stop()
    second = valkey.run(deep)
    with redis.Redis.from_url(second.url) as client:
        assert client.get("kept") == b"yes"
        client.set("kept", "still")
        client.execute_command("WAITAOF", 1, 0, 5000)
    servers.end("Valkey", second.pid, signal.SIGKILL, 5)
    third = valkey.run(deep)
    with redis.Redis.from_url(third.url) as client:
        assert client.get("kept") == b"still"
    third.stop()


def test_valkey_that_was_left_running_is_taken_over_and_stopped(tmp_path):
    pid = start_and_vanish("valkey", tmp_path)
    found = valkey.run(tmp_path)
    assert (found.found, found.pid) == (True, pid)
    found.stop()
    assert not Path(f"/proc/{pid}").exists()


def test_valkey_admits_nobody_without_the_password(tmp_path):
    server = valkey.run(tmp_path)
    port = int(server.url.rsplit(":", 1)[1].split("/")[0])
    with pytest.raises(redis.AuthenticationError), redis.Redis(port=port) as client:
        client.ping()
    server.stop()


def test_a_stranger_on_valkeys_old_port_is_not_taken_for_ours(tmp_path):
    stranger = valkey.run(tmp_path / "stranger")
    ours = tmp_path / "ours"
    ours.mkdir()
    (ours / "url").write_text(stranger.url)
    server = valkey.run(ours)
    assert not server.found
    assert server.pid != stranger.pid
    server.stop()
    stranger.stop()


def test_a_lock_held_alone_tells_the_others_what_was_written_into_it(tmp_path):
    with locks.alone(tmp_path / "lock") as file:
        file.write("pid 1")
        file.flush()
        with pytest.raises(locks.Busy, match="pid 1"), locks.alone(tmp_path / "lock"):
            pass
    with locks.alone(tmp_path / "lock"):
        pass


def test_the_last_of_several_holders_knows_it(tmp_path):
    first, second = locks.Share(tmp_path / "users"), locks.Share(tmp_path / "users")
    assert first.is_only_holder()
    second.hold()
    assert not first.is_only_holder()
    assert not second.is_only_holder()
    first.leave()
    assert second.is_only_holder()
    second.leave()
