"""Holds a UI message stream to the letter: only what the strict releases of the AI SDK accept, in an order that breaks
none of its clients. Works on our own output and on recorded streams alike."""

import json
import re
from collections.abc import Iterator

# type: (required keys, optional keys), as `uiMessageChunkSchema` of ai 5.0.216, 6.0.230 and 7.0.31 all accept them.
CHUNKS: dict[str, tuple[dict[str, type | tuple[type, ...]], dict[str, type | tuple[type, ...]]]] = {
    "start": ({}, {"messageId": str, "messageMetadata": object}),
    "start-step": ({}, {}),
    "finish-step": ({}, {}),
    "text-start": ({"id": str}, {"providerMetadata": dict}),
    "text-delta": ({"id": str, "delta": str}, {"providerMetadata": dict}),
    "text-end": ({"id": str}, {"providerMetadata": dict}),
    "reasoning-start": ({"id": str}, {"providerMetadata": dict}),
    "reasoning-delta": ({"id": str, "delta": str}, {"providerMetadata": dict}),
    "reasoning-end": ({"id": str}, {"providerMetadata": dict}),
    "tool-input-start": ({"toolCallId": str, "toolName": str}, {"providerExecuted": bool, "dynamic": bool}),
    "tool-input-delta": ({"toolCallId": str, "inputTextDelta": str}, {}),
    "tool-input-available": (
        {"toolCallId": str, "toolName": str, "input": object},
        {"providerExecuted": bool, "providerMetadata": dict, "dynamic": bool},
    ),
    "tool-output-available": (
        {"toolCallId": str, "output": object},
        {"providerExecuted": bool, "dynamic": bool, "preliminary": bool},
    ),
    "tool-output-error": ({"toolCallId": str, "errorText": str}, {"providerExecuted": bool, "dynamic": bool}),
    "tool-output-denied": ({"toolCallId": str}, {}),
    "tool-approval-request": ({"approvalId": str, "toolCallId": str}, {}),
    "message-metadata": ({"messageMetadata": object}, {}),
    "error": ({"errorText": str}, {}),
    "abort": ({}, {}),
    "finish": ({}, {"messageMetadata": object, "finishReason": str}),
}
DATA = ({"data": object}, {"id": str, "transient": bool})
FINISH_REASONS = {"stop", "length", "content-filter", "tool-calls", "error", "other"}
TERMINATORS = {"finish", "error", "abort"}
TOOL_OUTPUTS = {"tool-output-available", "tool-output-error", "tool-output-denied"}
# What may stand in a stream that has no message, because the turn was refused.
WITHOUT_MESSAGE = {"error", "abort"}


class Violation(AssertionError):
    """The stream would break, or mislead, a client of some release."""


def chunks(stream: bytes) -> Iterator[dict[str, object] | str]:
    """The JSON chunks of an SSE stream in order, and `[DONE]` as a string. Comments and `id:` lines are skipped."""
    if stream and not stream.endswith(b"\n\n"):
        raise Violation("the last event is cut")
    for event in stream.decode("utf-8").split("\n\n"):
        data = [line.removeprefix("data:").removeprefix(" ") for line in event.split("\n") if line.startswith("data:")]
        if not data:
            continue
        text = "\n".join(data)
        yield text if text == "[DONE]" else json.loads(text, parse_constant=_refuse_constant)


def check(stream: bytes, *, known_calls: frozenset[str] = frozenset()) -> list[dict[str, object]]:
    """The chunks of a whole stream, all rules kept. `known_calls` are the tool calls of the message that this answer
    goes on with, if it does. Raises Violation."""
    checker = _Checker(set(known_calls))
    seen: list[dict[str, object]] = []
    for chunk in chunks(stream):
        checker.take(chunk)
        if isinstance(chunk, dict):
            seen.append(chunk)
    checker.end()
    return seen


def text_of(checked: list[dict[str, object]], kind: str = "text") -> str:
    """All that was said (`text`) or thought (`reasoning`)."""
    return "".join(str(chunk["delta"]) for chunk in checked if chunk["type"] == f"{kind}-delta")


class _Checker:
    def __init__(self, calls: set[str]) -> None:
        self.started = False
        self.in_step = False
        self.steps = 0
        self.open: set[tuple[str, str]] = set()
        self.used: set[tuple[str, str]] = set()
        self.calls = calls
        self.output_in_step = False
        self.terminator: str | None = None
        self.done = False

    def take(self, chunk: dict[str, object] | str) -> None:
        _require(not self.done, "nothing comes after [DONE]")
        if chunk == "[DONE]":
            _require(self.terminator is not None, "[DONE] comes after a finish, an error or an abort")
            self.done = True
            return
        _require(isinstance(chunk, dict), f"{chunk!r} is no chunk")
        assert isinstance(chunk, dict)
        kind = _shape(chunk)
        _require(self.terminator is None, f"{kind} comes after {self.terminator}, where no client listens")
        if kind == "start":
            _require(not self.started, "start comes once")
            _require("messageId" in chunk, "start names its message")
            self.started = True
        elif not kind.startswith("data-") and kind not in WITHOUT_MESSAGE:
            _require(self.started, f"{kind} comes before start")
        elif kind.startswith("data-") and not self.started:
            _require(chunk.get("transient") is True, f"{kind} would be stored in a message that has not started")
        self._steps(kind)
        self._blocks(kind, chunk)
        self._tools(kind, chunk)
        if kind in TERMINATORS:
            _require(not self.open, f"{self.open} is open at {kind}")
            _require(not self.in_step, f"a step is open at {kind}")
            self.terminator = kind

    def end(self) -> None:
        _require(self.done, "the stream ends without [DONE]")

    def _steps(self, kind: str) -> None:
        if kind == "start-step":
            _require(not self.in_step, "start-step comes inside a step")
            self.in_step, self.output_in_step = True, False
        elif kind == "finish-step":
            _require(self.in_step, "finish-step comes outside a step")
            _require(not self.open, f"{self.open} is open at finish-step")
            self.in_step = False
        elif kind.startswith(("text-", "reasoning-", "tool-input-")):
            _require(self.in_step, f"{kind} comes outside a step")

    def _blocks(self, kind: str, chunk: dict[str, object]) -> None:
        match = re.fullmatch(r"(text|reasoning)-(start|delta|end)", kind)
        if match is None:
            return
        block, verb = (match[1], str(chunk["id"])), match[2]
        if verb == "start":
            _require(block not in self.used, f"the id of {block} is used twice")
            _require(not (block[0] == "text" and self.output_in_step), "text comes in the step of a tool's output")
            self.used.add(block)
            self.open.add(block)
        else:
            _require(block in self.open, f"{kind} comes outside its block {block}")
            if verb == "end":
                self.open.remove(block)

    def _tools(self, kind: str, chunk: dict[str, object]) -> None:
        call = str(chunk.get("toolCallId"))
        if kind in ("tool-input-start", "tool-input-available"):
            self.calls.add(call)
        elif kind in TOOL_OUTPUTS or kind in ("tool-input-delta", "tool-approval-request"):
            _require(call in self.calls, f"{kind} is for the unknown call {call}")
            self.output_in_step |= kind in TOOL_OUTPUTS


def _shape(chunk: dict[str, object]) -> str:
    """The chunk's type, once its keys and their kinds are found right."""
    kind = chunk.get("type")
    _require(isinstance(kind, str), f"{chunk!r} has no type")
    assert isinstance(kind, str)
    known = DATA if re.fullmatch(r"data-.+", kind) else CHUNKS.get(kind)
    if known is None:
        raise Violation(f"{kind} is no type of chunk that every release knows")
    required, optional = known
    for key, value in chunk.items():
        if key == "type":
            continue
        wanted = required.get(key) or optional.get(key)
        if wanted is None:
            raise Violation(f"{kind} has the extra key {key}")
        _require(isinstance(value, wanted), f"{kind}.{key} is {value!r}")
        _require(value is not None or key in ("data", "input", "output"), f"{kind}.{key} is null")
    missing = required.keys() - chunk.keys()
    _require(not missing, f"{kind} lacks {missing}")
    if kind == "finish" and "finishReason" in chunk:
        _require(chunk["finishReason"] in FINISH_REASONS, f"{chunk['finishReason']!r} is no finish reason")
    metadata = chunk.get("providerMetadata", {})
    assert isinstance(metadata, dict)
    _require(all(isinstance(value, dict) for value in metadata.values()), f"{kind}.providerMetadata is flat")
    return kind


def _refuse_constant(name: str) -> object:
    raise Violation(f"{name} is not JSON")


def _require(holds: object, otherwise: str) -> None:
    if not holds:
        raise Violation(otherwise)
