"""`bin/dev` as a person starts it, for the tests of it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from helpmaton.stack.surroundings import ROOT


class Dev:
    """One `bin/dev` with a stack name of its own; what it prints is collected in a file."""

    def __init__(self, name: str, folder: Path, *arguments: str, servers: dict[str, str] | None = None) -> None:
        environment = {key: value for key, value in os.environ.items() if key not in ("DATABASE_URL", "REDIS_URL")}
        environment |= {"STACK_NAME": name, **(servers or {})}
        self.name = name
        self._printed = folder / f"{name}-{time.monotonic_ns()}.txt"
        with self._printed.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "bin" / "dev"), *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def printed(self) -> str:
        return self._printed.read_text()

    def wait_for(self, text: str, seconds: float = 90) -> str:
        """Everything printed, once `text` is in it."""
        deadline = time.monotonic() + seconds
        while text not in self.printed():
            assert self.process.poll() is None, self.printed()
            assert time.monotonic() < deadline, self.printed()
            time.sleep(0.1)
        return self.printed()

    def wait(self, seconds: float = 90) -> int:
        return self.process.wait(seconds)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def children(self) -> dict[int, str]:
        """Process id and command line of each child."""
        pid = self.process.pid
        numbers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {int(number): command_line(int(number)) for number in numbers}


def data_folder(name: str) -> Path:
    return ROOT / ".data" / name


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def still_running(name: str) -> list[str]:
    """The command lines of processes that belong to the stack: they name its folder, or have its name from us."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        line = command_line(int(folder.name))
        if f"STACK_NAME={name}\0".encode() in environment or f"{data_folder(name)}/" in line:
            found.append(line)
    return found


def remove(name: str) -> None:
    shutil.rmtree(data_folder(name), ignore_errors=True)
