"""Whole streams, byte for byte, for a table of logs in every dialect. After a wanted change, write them anew with
`UPDATE_GOLDEN=1 pytest tests/streams/test_protocols_golden.py` and read the difference before committing it."""

import os
from pathlib import Path

import msgspec
import pytest

from streams.protocols import make
from streams.protocols.buffered import reply
from tests.streams.logs import LOGS, numbered
from tests.streams.ui_checker import check

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
DIALECTS = ("plain", "plain-whole", "ui", "json")


def transcript(name: str, dialect: str) -> bytes:
    entries = numbered(LOGS[name])
    match dialect:
        case "plain":
            return make("plain").encode(entries)
        case "plain-whole":
            return make("plain", deltas=False).encode(entries)
        case "ui":
            return make("ui").encode(entries)
    answer = reply(entries)
    refusal = answer.refusal and answer.refusal.code
    return msgspec.json.format(msgspec.json.encode({"refusal": refusal, "body": answer.body}), indent=2) + b"\n"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", LOGS)
def test_the_stream_is_the_recorded_one(name: str, dialect: str) -> None:
    path = GOLDEN / f"{name}.{dialect}.txt"
    written = transcript(name, dialect)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_bytes(written)
    assert written == path.read_bytes()


def test_no_recorded_stream_is_left_over() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {
        f"{name}.{dialect}.txt" for name in LOGS for dialect in DIALECTS
    }


@pytest.mark.parametrize("name", LOGS)
def test_the_recorded_ui_streams_keep_the_rules_of_the_client(name: str) -> None:
    check((GOLDEN / f"{name}.ui.txt").read_bytes())
