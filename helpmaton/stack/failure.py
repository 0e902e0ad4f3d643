"""How a start that failed says so."""

from pathlib import Path


class Failure(Exception):
    """Something did not start or did not hold; the message is for the person at the terminal, without a traceback."""


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log, or a sentence where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 20_000))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return f"({log} was never written)"
    return "\n".join(text.splitlines()[-lines:]) or f"({log} is empty)"
