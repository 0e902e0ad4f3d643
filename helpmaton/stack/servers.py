"""Starting and ending servers that may outlive the process that started them."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from helpmaton.stack.failure import Failure

# Kept so that an ended child is reaped; a server left by an earlier run is nobody's child and not in here.
_children: dict[int, subprocess.Popen[bytes]] = {}


def start(
    command: list[str],
    log: Path,
    *,
    environment: dict[str, str] | None = None,
    become: Callable[[], None] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts `command` with its output appended to `log`, after `become` has changed who it runs as. Raises OSError."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            # A session of its own: Ctrl-C in the terminal is for us, and we stop it last.
            start_new_session=True,
            preexec_fn=become,
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    _children[process.pid] = process
    return process


def end(name: str, pid: int, how: signal.Signals, seconds: float) -> None:
    """Sends `how` and waits until the process is gone. Raises Failure if that takes longer than `seconds`."""
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + seconds
    while _alive(pid):
        if time.monotonic() > deadline:
            raise Failure(f"{name} (pid {pid}) did not stop within {seconds:.0f} s.")
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    child = _children.get(pid)
    if child:
        return child.poll() is None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
