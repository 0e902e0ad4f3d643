"""The table of a run."""

import os
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table


class Figure(NamedTuple):
    """One line: ours, the peer's where there is one, and the aim: empty, or `[ratio] ≤|≥ NUMBER`, where the ratio is
    ours over the peer's."""

    what: str
    unit: str
    ours: float
    peer: str
    theirs: float | None
    aim: str

    @property
    def ratio(self) -> float | None:
        return self.ours / self.theirs if self.theirs else None

    @property
    def held(self) -> bool | None:
        """Whether the aim was met; None where there is none."""
        if not self.aim:
            return None
        *of_ratio, sign, bound = self.aim.split()
        value = self.ratio if of_ratio else self.ours
        if value is None:
            return None
        return value <= float(bound) if sign == "≤" else value >= float(bound)


def show(figures: list[Figure], console: Console, *, rounds: int, minutes: float) -> None:
    """Prints the figures as a table that is also Markdown, and what the machine was like."""
    table = Table(box=box.MARKDOWN)
    table.add_column("what")
    for heading in ("ours", "theirs", "ratio"):
        table.add_column(heading, justify="right")
    for heading in ("peer", "aim", ""):
        table.add_column(heading)
    for figure in figures:
        table.add_row(
            figure.what,
            _number(figure.ours, figure.unit),
            _number(figure.theirs, figure.unit),
            f"{figure.ratio:.2f} ×" if figure.ratio is not None else "",
            figure.peer,
            figure.aim,
            {True: "held", False: "MISSED", None: ""}[figure.held],
        )
    console.print(table)
    how = "One short round: a first look." if rounds == 1 else f"Medians of {rounds} alternated rounds."
    console.print(
        f"{how} {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}; fsync on; {minutes:.1f} minutes.",
        highlight=False,
    )


def _number(value: float | None, unit: str) -> str:
    """Three digits where there are so many."""
    if value is None:
        return ""
    places = 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2
    return f"{value:,.{places}f} {unit}".strip()
