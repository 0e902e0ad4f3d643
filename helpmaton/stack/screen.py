"""What `bin/dev` prints."""

import json
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape

from helpmaton.stack.failure import Failure
from helpmaton.stack.surroundings import Stack
from helpmaton.stack.trial import Trial


class Screen:
    """A terminal, or a file where there is none. Addresses are never wrapped, so that they can be copied."""

    def __init__(self) -> None:
        self._out = Console(highlight=False, soft_wrap=True)
        self._err = Console(highlight=False, soft_wrap=True, stderr=True)
        self._began = time.monotonic()

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """One line of progress: a spinner while the block runs, then the outcome it names, and its time."""
        outcome = ["ready"]
        began = time.monotonic()
        with self._out.status(f"{name} …"):
            yield lambda text: outcome.__setitem__(0, text)
        seconds = time.monotonic() - began
        self._out.print(f"[green]✓[/] {name} [dim]{escape(outcome[0])}, {seconds:.1f} s[/]")

    def ready(self, stack: Stack, demo: dict[str, Any]) -> None:
        """Where to click and what to paste."""
        self._out.print(f"\n[bold]Ready in {time.monotonic() - self._began:.1f} s.[/]\n")
        for name, text in (
            ("Dashboard", demo["base_url"]),
            ("Sign in once", demo["user"]["sign_in_url"]),
            ("Logs", str(stack.logs)),
        ):
            self._out.print(f"  {name:<13} {escape(text)}")
        body = shlex.quote(json.dumps({"message": "Which notebooks do you sell?"}))
        self._out.print("\n  Stream an answer:")
        line = f"curl -N -H 'Content-Type: application/json' -d {body} {shlex.quote(demo['stream_url'])}"
        self._out.print(f"  {escape(line)}\n\n  Ctrl-C stops everything.\n")

    def trial(self, trial: Trial) -> None:
        """The transcript of the check's turn and its rows in the ledger."""
        self._out.print(f"\n[bold]User[/]   {escape(trial.question)}\n[bold]Agent[/]  {escape(trial.answer)}\n")
        self._out.print(
            f"First token after {trial.first_token_s * 1000:.0f} ms · {escape(json.dumps(trial.done.get('usage')))} · "
            f"cost {trial.done.get('cost')} USD\n"
        )
        self._out.print("[bold]Ledger rows of this turn[/]")
        for entry in trial.entries:
            self._out.print(
                f"  {entry['id']}  {entry['kind']:<10}  {entry['amount']:>14} USD  balance {entry['balance_after']} USD"
            )
        self._out.print("\n[green]✓[/] Everything works.")

    def log(self, name: str, line: str) -> None:
        """One line that a process wrote."""
        self._out.print(f"[dim]{name} │[/] {escape(line)}")

    def note(self, text: str) -> None:
        """Something worth knowing that stops nothing."""
        self._err.print(f"[yellow]![/] {escape(text)}")

    def done(self, text: str) -> None:
        """The last line but one, or the last."""
        self._out.print(escape(text))

    def failure(self, problem: Failure) -> None:
        """Why it ends."""
        self._err.print(f"[red]✗[/] {escape(str(problem))}")
