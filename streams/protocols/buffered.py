"""`json`: the whole answer in one piece, with REST's snake_case names. Pure."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from billing.money import usd
from streams.events import Entry, Failed, Finished, Notice, ReasoningDelta, Started, TextDelta
from streams.protocols import sse

_CAPITAL = re.compile(r"(?<=[a-z0-9])[A-Z]")


class Reply(NamedTuple):
    """`body` is the JSON object of the reply. `refusal` is set when the turn failed before any text was paid for: then
    the caller answers with the HTTP status of its code instead."""

    body: dict[str, object]
    refusal: Failed | None


class Incomplete(Exception):
    """The log has no `Finished` yet, so there is nothing to reply."""


def reply(entries: Iterable[Entry]) -> Reply:
    """One reply for the complete log of one turn. Raises Incomplete if its end is missing.

    `text` joins every text delta; `message.parts` has one part per block. Without a start (a refused turn)
    `conversation_id`, `turn_id` and `message` are None.
    """
    started: Started | None = None
    failed: Failed | None = None
    finished: Finished | None = None
    parts: list[tuple[str, list[str]]] = []
    in_block = False
    for _, event in entries:
        match event:
            case TextDelta() | ReasoningDelta():
                kind = "text" if isinstance(event, TextDelta) else "reasoning"
                if not in_block or parts[-1][0] != kind:
                    parts.append((kind, []))
                parts[-1][1].append(event.text)
                in_block = True
                continue
            case Notice():
                continue
            case Started():
                started = event
            case Failed():
                failed = event
            case Finished():
                finished = event
        in_block = False
    if finished is None:
        raise Incomplete("the log has no end yet")
    blocks = [(kind, sse.printable("".join(pieces))) for kind, pieces in parts]
    text = "".join(block for kind, block in blocks if kind == "text")
    body: dict[str, object] = {
        "conversation_id": started and started.conversation_id,
        "turn_id": started and started.turn_id,
        "message": started
        and {
            "id": started.message_id,
            "role": "assistant",
            "parts": [{"type": kind, "text": block} for kind, block in blocks],
        },
        "text": text,
        "tool_calls": [],
        "approvals": [],
        "usage": _usage(finished),
        "cost": usd(finished.cost_nano),
        "finish_reason": finished.finish_reason,
    }
    if failed is not None:
        body["error"] = error_fields(failed)
    return Reply(body, failed if not text else None)


def error_fields(failed: Failed) -> dict[str, object]:
    """A failure as a JSON object: `code, message, request_id` and its details, all in snake_case."""
    named = {"code": failed.code, "message": failed.message, "request_id": failed.request_id}
    return {_CAPITAL.sub(_lowered, key): value for key, value in failed.details.items()} | named


def _usage(finished: Finished) -> dict[str, object]:
    return {
        "input_tokens": finished.usage.input_tokens,
        "output_tokens": finished.usage.output_tokens,
        "reasoning_tokens": finished.usage.reasoning_tokens,
        "cached_input_tokens": finished.usage.cached_input_tokens,
        "estimated": finished.usage.estimated,
    }


def _lowered(match: re.Match[str]) -> str:
    return "_" + match.group().lower()
