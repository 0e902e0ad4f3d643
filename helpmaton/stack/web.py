"""The web server's command line, its port, and whether it answers."""

import socket
import sys
import urllib.error
import urllib.request
from typing import Literal, get_args

from helpmaton.stack.failure import Failure

Server = Literal["uvicorn", "daphne", "granian"]
SERVERS: tuple[Server, ...] = get_args(Server)
_APPLICATION = "helpmaton.asgi:application"


def command(server: Server, host: str, port: int, workers: int = 1) -> list[str]:
    """How `server` serves the application. Raises Failure for several workers under daphne, which has none."""
    python = [sys.executable, "-m"]
    where = ["--host", host, "--port", str(port), "--workers", str(workers)]
    if server == "uvicorn":
        return [*python, "uvicorn", _APPLICATION, *where, "--no-server-header"]
    if server == "granian":
        return [*python, "granian", "--interface", "asgi", _APPLICATION, *where]
    if workers != 1:
        raise Failure("daphne has one process only: leave --workers out, or choose --server uvicorn or granian.")
    return [*python, "daphne", "-b", host, "-p", str(port), _APPLICATION]


def free_port(host: str = "127.0.0.1") -> int:
    """A port on `host` that nobody listened on a moment ago."""
    with _listener(host) as listener:
        listener.bind((host, 0))
        port: int = listener.getsockname()[1]
        return port


def refuse_port_in_use(host: str, port: int) -> None:
    """Raises Failure where the server could not listen."""
    try:
        with _listener(host) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen()
    except (OSError, OverflowError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        raise Failure(
            f"Port {port} on {host} cannot be used ({reason}): choose another with --port, or stop what listens there."
        ) from None


def is_healthy(address: str) -> bool:
    """Whether `GET /api/health` below `address` answers 200."""
    try:
        # Without a proxy: the address is this machine, whatever http_proxy says.
        with _DIRECT.open(f"{address}/api/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


def direct() -> urllib.request.OpenerDirector:
    """An HTTP client that goes to the address itself, past any proxy of the machine."""
    return _DIRECT


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _listener(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
