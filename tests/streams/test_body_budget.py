"""A body that would keep everybody else waiting is refused in time."""

import json

import pytest

from streams import bodies
from streams.bodies import InvalidBody


def body_with(args: object) -> bytes:
    part = {"type": "tool-x", "toolCallId": "1", "state": "output-available", "input": args, "output": 1}
    messages = [
        {"role": "user", "parts": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "parts": [part]},
        {"role": "user", "parts": [{"type": "text", "text": "and now?"}]},
    ]
    return json.dumps({"messages": messages}).encode()


def nested(levels: int) -> object:
    value: object = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "args",
    [[[] for _ in range(300_000)], [nested(58) for _ in range(8_000)], list(range(150_000))],
    ids=["many lists", "deep lists", "a long list"],
)
def test_too_many_values_are_refused(args):
    with pytest.raises(InvalidBody) as raised:
        bodies.parse(body_with(args), "application/json", allow_system=False)
    assert raised.value.errors[0].code == "too_many"


def test_a_usual_tool_output_passes():
    rows = [{"id": number, "name": "a row", "tags": ["x", "y"]} for number in range(4_000)]
    assert bodies.parse(body_with(rows), "application/json", allow_system=False).complete


def test_a_message_id_longer_than_its_column_is_refused():
    message = {"id": "m" * 129, "role": "user", "parts": [{"type": "text", "text": "hi"}]}
    with pytest.raises(InvalidBody) as raised:
        bodies.parse(json.dumps({"messages": [message]}).encode(), "application/json", allow_system=False)
    assert raised.value.errors[0].pointer == "/messages/0/id"
