"""The processes of a stack: started, watched, and ended one after another."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from helpmaton.stack.failure import Failure, tail
from helpmaton.stack.surroundings import ROOT

_LOOK_S = 0.05
_PR_SET_PDEATHSIG = 1


class Stopped(Exception):
    """Ctrl-C or SIGTERM: everything is to end, and that is no failure."""


class Process:
    """One child with a log of its own."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._read = 0
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A session of its own: Ctrl-C in the terminal reaches us alone, and we end it in its turn.
                start_new_session=True,
                preexec_fn=_end_with(os.getpid()) if sys.platform == "linux" else None,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def code(self) -> int | None:
        """The exit code, or None while it runs; minus the signal's number where a signal ended it."""
        return self._process.poll()

    def new_lines(self) -> list[str]:
        """What it has written since the last call, as whole lines."""
        with self.log.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole.decode(errors="replace").splitlines()

    def died(self) -> Failure:
        """Why the stack cannot go on."""
        code = self.code() or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return Failure(f"The {self.name} {how}. The end of {self.log}:\n{tail(self.log)}")

    def end(self, seconds: float) -> bool:
        """SIGTERM, and after `seconds` SIGKILL to it and all its children. Returns whether the first was enough."""
        if self.code() is not None:
            return True
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            return False
        return True


class Supervisor:
    """Starts processes, notices the one that dies, and hears Ctrl-C and SIGTERM from the moment it is made."""

    def __init__(self) -> None:
        self._running: list[Process] = []
        self._stopping = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask_to_stop)

    def start(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> Process:
        """Starts a process that is meant to run until the end."""
        process = Process(name, command, environment, log)
        self._running.append(process)
        return process

    def finish(self, process: Process) -> None:
        """Waits for a process that ends on its own. Raises Failure unless its code is 0, and what `wait` raises."""
        self._running.remove(process)
        try:
            self.wait(lambda: process.code() is not None)
        except BaseException:
            process.end(5)
            raise
        if process.code() != 0:
            raise process.died()

    def wait(self, ready: Callable[[], bool], seconds: float | None = None, what: str = "") -> None:
        """Returns once `ready()` is true. Raises Stopped, Failure when a process dies, or Failure after `seconds`."""
        deadline = time.monotonic() + seconds if seconds else None
        while True:
            if self._stopping:
                raise Stopped
            for process in self._running:
                if process.code() is not None:
                    raise process.died()
            if ready():
                return
            if deadline and time.monotonic() > deadline:
                raise Failure(f"{what} took longer than {seconds:.0f} s.")
            time.sleep(_LOOK_S)

    def new_lines(self) -> Iterator[tuple[str, str]]:
        """What the processes have written since the last call: each one's name and a line."""
        for process in self._running:
            for line in process.new_lines():
                yield process.name, line

    def end_all(self, patience: dict[str, float], say: Callable[[str], None]) -> None:
        """Ends what was started, first things first, each with its `patience` in seconds (5 where it has none)."""
        for process in self._running:
            if not process.end(patience.get(process.name, 5)):
                say(f"The {process.name} did not end in time and was killed.")
        self._running.clear()

    def _ask_to_stop(self, number: int, frame: object) -> None:
        self._stopping = True


def _end_with(parent: int) -> Callable[[], None]:
    """A child that gets SIGTERM when `parent` is killed without a chance to say so."""
    libc = ctypes.CDLL(None)

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            with contextlib.suppress(ProcessLookupError):
                os.kill(os.getpid(), signal.SIGTERM)

    return arm
