"""The product as a process of its own, for tests that need a real server and real signals."""

import os
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from django.db import connection

from helpmaton.stack import web
from helpmaton.stack.failure import tail
from helpmaton.stack.surroundings import ROOT

_HEALTHY_S = 40.0
_END_S = 30.0


class LiveServer:
    """A web server process; `url` is its base URL, `pid` its first process, `log` all it has written."""

    def __init__(self, server: web.Server, workers: int, environment: dict[str, str | None], log: Path) -> None:
        port = web.free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        own = {"DATABASE_URL": database_url(), "PUBLIC_URL": self.url, "PYTHONUNBUFFERED": "1", **environment}
        merged = os.environ | own
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                web.command(server, "127.0.0.1", port, workers),
                cwd=ROOT,
                env={name: value for name, value in merged.items() if value is not None},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def wait_until_healthy(self) -> None:
        """Returns once `GET /api/health` answers 200; fails with the log's end after 40 s or at its death."""
        deadline = time.monotonic() + _HEALTHY_S
        while not web.is_healthy(self.url):
            assert self._process.poll() is None, f"the server ended with code {self._process.poll()}:\n{tail(self.log)}"
            assert time.monotonic() < deadline, f"the server is not healthy after {_HEALTHY_S:.0f} s:\n{tail(self.log)}"
            time.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the server, as an operator would: to its first process."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL to the server and all its workers at once, and waits until the first is gone."""
        os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def wait(self, seconds: float = _END_S) -> int:
        """Waits for the server's own end and returns its exit code. Raises subprocess.TimeoutExpired."""
        return self._process.wait(seconds)

    def stop(self, seconds: float = _END_S) -> int:
        """SIGTERM, then `wait`."""
        self.send(signal.SIGTERM)
        return self.wait(seconds)

    def is_running(self) -> bool:
        """Whether its first process is there."""
        return self._process.poll() is None

    def written(self) -> str:
        """All it has written so far."""
        return self.log.read_text(errors="replace")

    def end_or_kill(self) -> bool:
        """Ends it if it still runs; False if it had to be killed."""
        if not self.is_running():
            return True
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True


def database_url() -> str:
    """DATABASE_URL with the database of this very test run in it."""
    name = connection.settings_dict["NAME"]
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{quote(name)}"))
