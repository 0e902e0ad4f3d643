"""The real `useChat` of AI SDK 7, in a DOM of its own, talks to the real server: nothing is set but the endpoint."""

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.management import call_command

from tests.live import LiveServer

CLIENT = Path(__file__).resolve().parent.parent / "clients" / "usechat.mjs"
DEADLINE_S = 40

Line = dict[str, Any]
Play = Callable[..., list[Line]]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def play(live_server_process: Callable[..., LiveServer], settings: Any) -> Play:
    """Plays a scenario of usechat.mjs against the demo agent of a live server; the lines it printed."""
    server = live_server_process()
    settings.DEMO = True
    printed = io.StringIO()
    call_command("demo", "--json", stdout=printed)
    api = server.url + urlsplit(json.loads(printed.getvalue())["stream_url"]).path

    def run(scenario: str, prompt: str = "Tell me a story") -> list[Line]:
        done = subprocess.run(
            ["node", str(CLIENT), api, scenario, "--prompt", prompt, "--deadline", str(DEADLINE_S)],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S + 10,
        )
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 0, (lines[-3:], done.stderr[-2000:])
        assert lines[-1]["ok"] is True
        return lines

    return run


def of(lines: list[Line], event: str, tab: str = "first") -> list[Line]:
    return [line for line in lines if line["event"] == event and line["tab"] == tab]


def statuses(lines: list[Line], tab: str = "first") -> list[str]:
    return [line["status"] for line in of(lines, "status", tab)]


def last_answer(lines: list[Line], tab: str = "first") -> Line:
    answer = of(lines, "messages", tab)[-1]["messages"][-1]
    assert answer["role"] == "assistant"
    return answer


def text_of(message: Line) -> str:
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


def test_a_question_is_answered(play: Play) -> None:
    lines = play("text")
    assert statuses(lines) == ["ready", "submitted", "streaming", "ready"]
    request = of(lines, "request")[0]
    assert request["status"] == 200
    assert request["headers"]["x-stream-dialect"] == "ui"
    assert request["headers"]["x-conversation-id"].startswith("conv_")
    answer = last_answer(lines)
    assert answer["id"].startswith("msg_")
    assert text_of(answer)
    assert all(part["state"] == "done" for part in answer["parts"] if part["type"] == "text")
    assert answer["metadata"]["turnId"].startswith("turn_")
    assert answer["metadata"]["usage"]["outputTokens"] > 0
    assert float(answer["metadata"]["cost"]) >= 0
    assert [line["finishReason"] for line in of(lines, "finish")] == ["stop"]
    assert not of(lines, "error")


def test_a_failure_is_told_in_a_sentence_and_the_chat_goes_on(play: Play) -> None:
    lines = play("error", "Please fail /error")
    [error] = of(lines, "error")
    assert error["message"]
    assert not error["message"].startswith("{")
    [code] = [line["data"] for line in of(lines, "data") if line["type"] == "data-error"]
    assert code["code"] == "provider_error"
    assert code["requestId"].startswith("req_")
    assert statuses(lines) == ["ready", "submitted", "streaming", "error", "submitted", "streaming", "ready"]
    assert [line["isError"] for line in of(lines, "finish")] == [True, False]
    failed, answered = (line["messages"] for line in of(lines, "messages"))
    assert text_of(failed[-1])
    assert failed[-1]["metadata"]["usage"]["outputTokens"] > 0
    assert len(answered) == len(failed) + 2
    assert text_of(answered[-1])


def test_stop_leaves_what_was_said(play: Play) -> None:
    lines = play("stop", "Go on and on /long")
    assert statuses(lines) == ["ready", "submitted", "streaming", "ready"]
    assert [line["isAbort"] for line in of(lines, "finish")] == [True]
    assert text_of(last_answer(lines))
    assert not of(lines, "error")


def test_a_second_tab_reads_the_same_answer(play: Play) -> None:
    lines = play("resume")
    first, second = last_answer(lines), last_answer(lines, "second")
    assert second["id"] == first["id"]
    assert second["parts"] == first["parts"]
    assert second["metadata"] == first["metadata"]
    assert [line["status"] for line in of(lines, "request", "second")] == [200, 204]
    assert len(of(lines, "messages", "second")[-1]["messages"]) == 1
    assert not of(lines, "error") + of(lines, "error", "second")


def test_an_answer_made_anew_takes_the_place_of_the_old(play: Play) -> None:
    lines = play("regenerate")
    before, after = (line["messages"] for line in of(lines, "messages"))
    assert [message["role"] for message in after] == ["user", "assistant"]
    assert after[0] == before[0]
    assert after[1]["id"] != before[1]["id"]
    assert text_of(after[1])


def test_two_turns_are_one_conversation(play: Play) -> None:
    lines = play("two-turns")
    messages = of(lines, "messages")[-1]["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant"]
    assert len({message["id"] for message in messages}) == 4
    conversations = {message["metadata"]["conversationId"] for message in messages if message["role"] == "assistant"}
    assert len(conversations) == 1
