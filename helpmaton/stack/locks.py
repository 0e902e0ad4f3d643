"""Locks between processes that vanish with the process that holds them."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class Busy(Exception):
    """Somebody else holds the lock; the message is what they wrote into it, or empty."""


@contextmanager
def waiting(path: Path) -> Iterator[None]:
    """Holds `path` alone for the block; waits for whoever has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def alone(path: Path) -> Iterator[IO[str]]:
    """Holds `path` alone for the block and yields it, to write into it what others should be told.

    Raises Busy at once where somebody has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Busy(file.read().strip()) from None
        file.truncate(0)
        yield file


class Share:
    """One of several holders of `path`; who comes first and who leaves last can know it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a")

    def is_only_holder(self) -> bool:
        """Whether nobody else holds it. Ask under a lock of its own: a moment later it may be untrue."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # A refused conversion drops the lock that was there.
            self.hold()
            return False
        self.hold()
        return True

    def hold(self) -> None:
        """Becomes a holder. Waits while somebody is asking whether he is the only one."""
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def leave(self) -> None:
        """Gives it back."""
        self._file.close()
