"""Who may import whom: docs/architecture.md, held by reading every module's imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpmaton.stack.surroundings import ROOT

# Each imports only to its right.
ORDER = ("streams", "throttling", "agents", "billing")

PURE = (
    "agents/permissions.py",
    "billing/money.py",
    "billing/pricing.py",
    "streams/bodies.py",
    "streams/events.py",
    "streams/grammar.py",
    "streams/messages.py",
    "streams/protocols/*.py",
)
IMPURE_MODULES = {
    "aiohttp", "asyncio", "celery", "channels", "django", "os", "pathlib", "psycopg", "random", "redis",
    "rest_framework", "secrets", "socket", "structlog", "subprocess", "threading", "time",
}  # fmt: skip
CLOCKS = {"now", "today", "utcnow"}

MODULES = sorted(path for app in ORDER for path in (ROOT / app).rglob("*.py"))
PURE_MODULES = sorted(path for pattern in PURE for path in ROOT.glob(pattern))


def imports(source: str, module: str) -> Iterator[str]:
    """The dotted name of each module that `source`, the text of the module `module`, imports anywhere."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def wrong_directions(source: str, module: str) -> list[str]:
    """The imports of a module that point to the left, or to `helpmaton`."""
    app = module.split(".")[0]
    forbidden = {"helpmaton", *ORDER[: ORDER.index(app)]}
    return [name for name in imports(source, module) if name.split(".")[0] in forbidden]


def impurities(source: str, module: str) -> list[str]:
    """What a pure module may not do: import Django, I/O or a clock, or ask `datetime` for the time, or open a file."""
    found = [name for name in imports(source, module) if name.split(".")[0] in IMPURE_MODULES]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in {"open", "input", "print"}:
                found.append(called.id)
            if isinstance(called, ast.Attribute) and called.attr in CLOCKS:
                found.append(called.attr)
    return found


def dotted(path: Path) -> str:
    """The module's name; a package is named by its `__init__` so that relative imports resolve alike."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_go_one_way(path):
    assert wrong_directions(path.read_text(), dotted(path)) == []


@pytest.mark.parametrize("path", PURE_MODULES, ids=dotted)
def test_pure_modules_do_no_io_and_know_no_clock(path):
    assert impurities(path.read_text(), dotted(path)) == []


def test_the_launcher_is_imported_by_no_part_of_the_product():
    product = [*MODULES, *(path for path in (ROOT / "helpmaton").glob("*.py"))]
    assert [dotted(path) for path in product if "helpmaton.stack" in set(imports(path.read_text(), dotted(path)))] == []


def test_every_pure_module_is_there():
    for pattern in PURE:
        assert list(ROOT.glob(pattern)), f"{pattern} matches nothing"


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("billing.ledger", "from agents import models"),
        ("billing.ledger", "def later():\n    import streams.turns"),
        ("agents.vault", "from throttling.gate import x"),
        ("throttling.gate", "import helpmaton.settings"),
        ("agents.api.urls", "from ...streams import turns"),
    ],
)
def test_an_import_to_the_left_is_found(module, line):
    assert wrong_directions(line, module)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("streams.turns", "from billing import ledger"),
        ("agents.vault", "from agents.models import Agent"),
        ("agents.api.urls", "from ..models import Agent"),
        ("billing.ledger", "import django"),
    ],
)
def test_an_import_to_the_right_is_fine(module, line):
    assert wrong_directions(line, module) == []


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "from os import environ",
        "from django.utils import timezone",
        "x = datetime.now(UTC)",
        "open('x')",
    ],
)
def test_an_impurity_is_found(line):
    assert impurities(line, "billing.money")
