"""One turn through the front door, as a stranger with the stream URL would take it, and what it cost."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from helpmaton.stack import web
from helpmaton.stack.failure import Failure

_MESSAGE = "Which notebooks do you sell?"


@dataclass(frozen=True)
class Trial:
    """A turn that went well: what was said, what `done` reported, and its ledger rows."""

    question: str
    answer: str
    done: dict[str, Any]
    entries: list[dict[str, Any]]
    first_token_s: float


def run(demo: dict[str, Any]) -> Trial:
    """Streams one answer with the secret in the path and reads the turn's ledger rows over REST.

    Raises Failure where the stream breaks its promises, or where money and stream disagree.
    """
    started = time.monotonic()
    first_token_s = 0.0
    events = []
    for event in _stream(demo["stream_url"]):
        if event.get("type") == "text-delta" and not first_token_s:
            first_token_s = time.monotonic() - started
        events.append(event)
    answer = "".join(event["textDelta"] for event in events if event.get("type") == "text-delta")
    _judge(events, answer)
    entries = _entries(demo, events[0]["turnId"])
    return Trial(_MESSAGE, answer, events[-1], entries, first_token_s)


def _stream(url: str) -> Iterator[dict[str, Any]]:
    body = json.dumps({"message": _MESSAGE}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310  (our own address)
    with _open(request) as answer:
        kind = answer.headers.get_content_type()
        if kind != "text/event-stream":
            raise Failure(f"The stream came as {kind}, not as text/event-stream.")
        for line in answer:
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))


def _judge(events: list[dict[str, Any]], answer: str) -> None:
    kinds = [event.get("type") for event in events]
    for event in events:
        if event.get("type") == "error":
            raise Failure(f"The turn ended with an error: {event.get('error')} ({event.get('code')})")
    if kinds[:1] != ["start"] or kinds[-1:] != ["done"] or kinds.count("done") != 1:
        raise Failure(f"The stream should run from one start to one done, and was: {kinds}")
    if not answer.strip():
        raise Failure("The stream ended well but said nothing.")


def _entries(demo: dict[str, Any], turn: str) -> list[dict[str, Any]]:
    url = f"{demo['base_url']}/api/workspaces/{demo['workspace_id']}/transactions?limit=100"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {demo['api_key']}"})  # noqa: S310
    with _open(request) as answer:
        page = json.load(answer)
    entries = [entry for entry in page["data"] if entry["turn_id"] == turn]
    if not entries:
        # The end of the stream comes after the settlement, so there is nothing to wait for.
        raise Failure(f"The stream of {turn} is over and the ledger has no row of it.")
    return entries


def _open(request: urllib.request.Request) -> Any:
    try:
        return web.direct().open(request, timeout=60)
    except urllib.error.HTTPError as refusal:
        raise Failure(
            f"{_path(request)} answered {refusal.code}: {refusal.read(2000).decode(errors='replace')}"
        ) from None
    except OSError as problem:
        raise Failure(f"{_path(request)} could not be reached: {problem}") from None


def _path(request: urllib.request.Request) -> str:
    """Method and path, without the secret that is the last part of a stream's."""
    path = request.selector.split("?")[0]
    return f"{request.get_method()} {path.rsplit('/', 1)[0] + '/…' if path.startswith('/api/streams/') else path}"
