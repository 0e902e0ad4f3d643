"""The product as a process of its own: started under a real server, talked to over sockets, ended by signals."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helpmaton.stack import web

ROOT = Path(__file__).resolve().parent.parent.parent
START_S = 30.0
TALKATIVE = {"uvicorn": ("--log-level", "trace"), "daphne": ("-v", "3")}


def reserve_port() -> socket.socket:
    """A socket bound to a free port of 127.0.0.1: as long as it is open nobody is given that port by chance, while
    whoever asks for it by number may listen there."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


class Server:
    """A running server; everything it writes is in `log`."""

    def __init__(
        self,
        kind: web.Server,
        environment: Mapping[str, str],
        log: Path,
        *,
        tuned: bool = False,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self._reserved = reserve_port()
        self.port = self._reserved.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        command = [*web.command(kind, "127.0.0.1", self.port), *arguments]
        if tuned:
            command = ["tests.journeys.tuned:application" if "asgi:" in word else word for word in command]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "PUBLIC_URL": self.url, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_S
        while not _answers(self.url):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"the server does not answer:\n{self.written()[-4000:]}")
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        return self._process.pid

    def written(self) -> str:
        return self.log.read_text(errors="replace")

    def lines(self) -> list[dict[str, Any]]:
        """What it wrote as structured lines."""
        return [json.loads(line) for line in self.written().splitlines() if line.startswith("{")]

    def threads(self) -> int:
        """How many threads the process has."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("Threads:")[2].split()[0])

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """The exit code. Raises TimeoutExpired."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        """`kill -9`."""
        self._reserved.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)

    def stop(self) -> None:
        """SIGTERM; killed if it does not end for that."""
        self._reserved.close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


def _answers(url: str) -> bool:
    try:
        with web.direct().open(f"{url}/api/version", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def manage(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """`manage.py` with those arguments."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
