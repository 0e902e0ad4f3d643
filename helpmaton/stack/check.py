"""`bin/check`: everything that can be said about the code without serving a request."""

import os
import subprocess
import sys
import time
from contextlib import ExitStack

from rich.console import Console
from rich.markup import escape

from helpmaton.stack import locks, postgres, surroundings, valkey
from helpmaton.stack.failure import Failure
from helpmaton.stack.surroundings import ROOT, Stack

_PYTHON = [sys.executable]
_STEPS = {
    "Format": [*_PYTHON, "-m", "ruff", "format", "--check", "."],
    "Lint": [*_PYTHON, "-m", "ruff", "check", "."],
    "Types": [*_PYTHON, "-m", "mypy"],
    "Import directions": [*_PYTHON, "-m", "pytest", "-q", "-n0", "tests/tooling/test_directions.py"],
    "System checks": [*_PYTHON, "manage.py", "check", "--fail-level", "WARNING"],
    "Migrations match the models": [*_PYTHON, "manage.py", "makemigrations", "--check", "--dry-run"],
    "OpenAPI schema": [*_PYTHON, "manage.py", "spectacular", "--validate", "--fail-on-warn", "--file", os.devnull],
}


def main() -> int:
    """Runs every step, shows the output of those that fail, and returns 1 if any did."""
    out = Console(highlight=False, soft_wrap=True)
    failed = []
    try:
        with ExitStack() as ending:
            environment = _environment(ending)
            for name, command in _STEPS.items():
                began = time.monotonic()
                with out.status(f"{name} …"):
                    done = subprocess.run(
                        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
                    )
                mark = "[green]✓[/]" if done.returncode == 0 else "[red]✗[/]"
                out.print(f"{mark} {name} [dim]{time.monotonic() - began:.1f} s[/]")
                if done.returncode != 0:
                    failed.append(name)
                    out.print(escape(f"{done.stdout}{done.stderr}".strip()) + "\n")
    except Failure as problem:
        out.print(f"[red]✗[/] {escape(str(problem))}")
        return 1
    out.print(f"[red]Failed: {', '.join(failed)}.[/]" if failed else "[green]All is well.[/]")
    return 1 if failed else 0


def _environment(ending: ExitStack) -> dict[str, str]:
    """Settings want servers, and `makemigrations` asks a real database; these are private to the run."""
    folder = ROOT / ".data" / "check-code"
    # Two checks at once take turns.
    ending.enter_context(locks.waiting(folder / "lock"))
    database = postgres.run(folder / "postgres", durable=False)
    ending.callback(database.stop)
    memory = valkey.run(folder / "valkey", durable=False)
    ending.callback(memory.stop)
    stack = Stack("check_code", folder, "127.0.0.1", 8000)
    url = database.database_url(stack.name)
    surroundings.create_database(url)
    return {**surroundings.environment(stack, url, memory.url), "PUBLIC_URL": stack.address, "DEBUG": "0"}


if __name__ == "__main__":
    sys.exit(main())
