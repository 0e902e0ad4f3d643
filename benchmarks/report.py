"""The table of a run."""

from typing import NamedTuple

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


def show(figures: list[Figure], console: Console, *, quick: bool) -> None:
    """Prints the figures."""
    table = Table(title="One short round: a first look" if quick else "Medians of three alternated rounds")
    table.add_column("")
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


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    shown = (
        f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    )
    return f"{shown} {unit}".strip()
