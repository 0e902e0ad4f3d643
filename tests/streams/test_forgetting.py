"""What was asked is let go of: refusals and finished turns keep no request alive."""

import ast
import asyncio
import gc
import weakref
from pathlib import Path

import pytest

import streams
from agents.callers import Caller
from agents.problems import CODES, Problem
from streams import admission, registry, turns
from streams.messages import ChatMessage, Incoming, TextPart
from streams.turn import DialectRequest, Opening, Turn

ROOT = Path(streams.__file__).parent.parent


class Marked(str):
    """A text that can be watched."""

    __slots__ = ("__weakref__",)


def opening(text: str) -> Opening:
    caller = Caller("key", "key_1", True, "ws_1", "key_1")
    incoming = Incoming((ChatMessage("user", (TextPart(text),)),), complete=True)
    return Opening(caller, "ag_1", incoming, DialectRequest(), "req_1")


async def ask_and_be_refused(watch: list[weakref.ref]) -> Turn:
    text = Marked("x" * 1000)
    watch.append(weakref.ref(text))
    turn = turns.start(opening(text))
    with pytest.raises(Problem, match="refused for the test"):
        await turn.opened
    while registry.of_this_loop().running:
        await asyncio.sleep(0)
    return turn


async def test_a_refused_turn_keeps_nothing_of_what_was_asked(monkeypatch):
    async def refuse(turn, *, known_conversation):
        asked = turn.opening  # as the real one, it has the question among its locals
        raise Problem("conflict", f"refused for the test {len(asked.request_id)}")

    monkeypatch.setattr(admission, "admit", refuse)
    watch: list[weakref.ref] = []
    turn = await ask_and_be_refused(watch)
    gc.collect()
    assert watch[0]() is None
    assert registry.of_this_loop().running == {}
    assert turn.messages == ()


def test_no_problem_is_made_once_and_raised_again():
    """An exception that is raised again keeps the frames of every time before, and whatever they held."""
    assert CODES
    for path in ROOT.glob("[abst]*/**/*.py"):
        if path.parts[len(ROOT.parts)] not in ("agents", "billing", "streams", "throttling"):
            continue
        for statement in ast.parse(path.read_text()).body:
            made = isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(statement.value, ast.Call)
            assert not (made and getattr(statement.value.func, "id", "") == "Problem"), f"{path}:{statement.lineno}"
