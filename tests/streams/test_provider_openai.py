"""The OpenAI provider against the scripted server, over real sockets: answers, failures, retries, time-outs."""

import asyncio
import base64
import contextlib
import logging
import socket
import time
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from streams.events import ReasoningDelta, TextDelta, Usage
from streams.messages import ChatMessage, TextPart
from streams.providers.base import Chunk, ModelFinished, ModelRequest, ProviderError
from streams.providers.openai import RETRY_NOTICE, OpenAIProvider, Timeouts
from tests.upstream.server import Upstream, scripted_upstream

KEY = "sk-secret-0123456789"
QUICK = Timeouts(connect_s=1, idle_s=0.3, total_s=5)

pytestmark = pytest.mark.asyncio


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with scripted_upstream() as running:
        yield running


@contextlib.asynccontextmanager
async def provider(base_url: str, key: str = KEY, **options) -> AsyncIterator[OpenAIProvider]:
    options = {"timeouts": QUICK, "retry_delay_s": 0.01, **options}
    opened = OpenAIProvider(base_url, key, **options)
    try:
        yield opened
    finally:
        await opened.aclose()


def asking(script: str = "echo", text: str = "Hello there you", bound: int = 1000) -> ModelRequest:
    return ModelRequest(f"scripted/{script}", (ChatMessage("user", (TextPart(text),)),), max_output_tokens=bound)


async def read(source: OpenAIProvider, request: ModelRequest) -> tuple[list[Chunk], ProviderError | None]:
    """All chunks of an answer and how it failed, if it did."""
    chunks: list[Chunk] = []
    try:
        async for some in source.stream(request):
            assert some, "an empty list was yielded"
            chunks += some
    except ProviderError as error:
        return chunks, error
    return chunks, None


def raw(*pieces: bytes, **options) -> str:
    """The script that sends these very bytes."""
    body = base64.urlsafe_b64encode(b"".join(pieces)).decode().rstrip("=")
    body += "=" * (-len(body) % 4)
    return "raw?body=" + body.replace("=", "%3D") + "".join(f"&{name}={value}" for name, value in options.items())


HELLO = [TextDelta("Hello "), TextDelta("there "), TextDelta("you")]


async def test_an_answer_is_its_deltas_then_usage_and_the_end(upstream: Upstream) -> None:
    async with provider(upstream.base_url) as source:
        chunks, error = await read(source, asking())
    assert error is None
    assert chunks == [*HELLO, Usage(input_tokens=4, output_tokens=3), ModelFinished("stop")]


async def test_the_request_carries_key_bound_and_stream_options(upstream: Upstream) -> None:
    async with provider(upstream.base_url + "/") as source:
        await read(source, asking(bound=77))
    seen = upstream.journal.last()
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.headers["content-type"] == "application/json"
    assert seen.body["stream_options"] == {"include_usage": True}
    assert seen.body["max_tokens"] == 77
    assert "max_completion_tokens" not in seen.body


async def test_a_long_prompt_arrives_whole(upstream: Upstream) -> None:
    text = "ü " * 1_000_000
    async with provider(upstream.base_url) as source:
        chunks, error = await read(source, asking("no-usage", text=text, bound=2))
    assert error is None
    assert chunks == [TextDelta("ü "), TextDelta("ü "), ModelFinished("length")]
    assert upstream.journal.last().body["messages"] == [{"role": "user", "content": text}]


async def test_without_a_key_no_authorization_is_sent(upstream: Upstream) -> None:
    async with provider(upstream.base_url, key="") as source:
        await read(source, asking())
    assert "authorization" not in upstream.journal.last().headers


async def test_deltas_are_yielded_as_they_arrive(upstream: Upstream) -> None:
    lags = []
    async with provider(upstream.base_url) as source:
        async for chunks in source.stream(asking("slow?n=10&rate=50&stamp=1")):
            lags += [time.monotonic_ns() - int(c.text) for c in chunks if isinstance(c, TextDelta)]
    assert len(lags) == 10
    assert sorted(lags)[5] < 20e6, "a token took 20 ms and more from the provider to us"


async def test_events_of_one_read_come_as_one_list(upstream: Upstream) -> None:
    lists, tokens = 0, 0
    async with provider(upstream.base_url) as source:
        async for chunks in source.stream(asking("flood?n=20000", bound=100_000)):
            lists += 1
            tokens += sum(isinstance(chunk, TextDelta) for chunk in chunks)
    assert tokens == 20_000
    assert lists < 2_000


async def test_the_bound_reaches_the_provider(upstream: Upstream) -> None:
    async with provider(upstream.base_url) as source:
        chunks, _ = await read(source, asking("slow?n=50&rate=0", bound=5))
    assert [c for c in chunks if isinstance(c, TextDelta)] == [TextDelta(f"tok{i} ") for i in range(5)]
    assert chunks[-1] == ModelFinished("length")


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_comes_before_the_text_and_is_counted(upstream: Upstream, field: str) -> None:
    async with provider(upstream.base_url) as source:
        chunks, _ = await read(source, asking(f"reasoning?n=2&field={field}"))
    assert chunks[:3] == [ReasoningDelta("thought0 "), ReasoningDelta("thought1 "), TextDelta("Hello ")]
    assert chunks[-2] == Usage(input_tokens=4, output_tokens=5, reasoning_tokens=2)


async def test_usage_may_be_missing_or_contradict_the_text(upstream: Upstream) -> None:
    async with provider(upstream.base_url) as source:
        assert (await read(source, asking("no-usage")))[0] == [*HELLO, ModelFinished("stop")]
        chunks, _ = await read(source, asking("wrong-usage?input=10&output=99999&cached=3"))
    assert chunks[-2] == Usage(input_tokens=10, output_tokens=99999, cached_input_tokens=3)


async def test_one_connection_serves_answers_one_after_another(upstream: Upstream) -> None:
    async with provider(upstream.base_url) as source:
        for _ in range(5):
            await read(source, asking())
        await read(source, asking("error-before?status=400"))
        await read(source, asking())
    assert upstream.journal.connections == 1


async def test_a_body_that_ends_a_little_after_done_leaves_the_connection_usable(upstream: Upstream) -> None:
    async with provider(upstream.base_url) as source:
        for _ in range(3):
            assert (await read(source, asking("echo?tail=0.05")))[1] is None
    assert upstream.journal.connections == 1


async def test_a_body_that_does_not_end_after_done_holds_nobody_up(upstream: Upstream) -> None:
    async with provider(upstream.base_url) as source, asyncio.timeout(1):
        chunks, error = await read(source, asking("echo?tail=30"))
        await read(source, asking())
    assert error is None
    assert chunks[-1] == ModelFinished("stop")
    assert upstream.journal.connections == 2


# Failures


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_refusal_is_not_repeated(upstream: Upstream, status: int) -> None:
    async with provider(upstream.base_url) as source:
        chunks, error = await read(source, asking(f"error-before?status={status}"))
    assert chunks == []
    assert error is not None
    assert error.code == "provider_error"
    assert str(status) in error.internal
    assert len(upstream.journal.exchanges) == 1


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
async def test_a_passing_failure_is_asked_again_with_a_notice(upstream: Upstream, status: int) -> None:
    async with provider(upstream.base_url) as source:
        chunks, error = await read(source, asking(f"error-before?status={status}&times=2"))
    assert error is None
    assert chunks[:5] == [RETRY_NOTICE, RETRY_NOTICE, *HELLO]
    assert RETRY_NOTICE.code == "provider_retry"


@pytest.mark.parametrize("content_type", ["text/plain", "text/html", "text/event-stream", "nonsense"])
async def test_a_failure_counts_whatever_its_type(upstream: Upstream, content_type: str) -> None:
    async with provider(upstream.base_url, max_attempts=2) as source:
        chunks, error = await read(source, asking(f"error-before?status=503&content-type={content_type}"))
    assert chunks == [RETRY_NOTICE]
    assert error is not None
    assert "HTTP 503" in error.internal


async def test_nobody_waits_for_an_attempt_that_could_not_be_made(upstream: Upstream) -> None:
    began = time.monotonic()
    times = Timeouts(connect_s=1, idle_s=1, total_s=1)
    async with provider(upstream.base_url, timeouts=times, retry_delay_s=60) as source:
        chunks, error = await read(source, asking("error-before?status=500"))
    assert chunks == []
    assert error is not None
    assert time.monotonic() - began < 0.5


async def test_attempts_are_counted(upstream: Upstream) -> None:
    async with provider(upstream.base_url, max_attempts=2) as source:
        chunks, error = await read(source, asking("error-before?status=500"))
    assert chunks == [RETRY_NOTICE]
    assert error is not None
    assert len(upstream.journal.exchanges) == 2


async def test_a_quota_that_is_used_up_is_not_asked_again(upstream: Upstream) -> None:
    async with provider(upstream.base_url) as source:
        _, error = await read(source, asking("error-before?status=429&code=insufficient_quota"))
    assert error is not None
    assert len(upstream.journal.exchanges) == 1


@pytest.mark.parametrize("header", ["retry-after=0.3", "retry-after-ms=300"])
async def test_retry_after_is_waited_for(upstream: Upstream, header: str) -> None:
    async with provider(upstream.base_url) as source:
        _, error = await read(source, asking(f"error-before?status=429&times=1&{header}"))
    first, second = upstream.journal.exchanges
    assert error is None
    assert 0.3 <= second.received_at - first.received_at < 0.6


async def test_retry_after_may_be_a_date(upstream: Upstream) -> None:
    # Whole seconds: two ahead are between one and two from now.
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True).replace(" ", "+").replace(",", "%2C")
    async with provider(upstream.base_url) as source:
        _, error = await read(source, asking(f"error-before?status=503&times=1&retry-after={date}"))
    first, second = upstream.journal.exchanges
    assert error is None
    assert 0.9 <= second.received_at - first.received_at < 2.3


async def test_a_retry_after_beyond_the_cap_fails_at_once(upstream: Upstream) -> None:
    began = time.monotonic()
    async with provider(upstream.base_url, longest_retry_after_s=1) as source:
        chunks, error = await read(source, asking("error-before?status=429&retry-after=2"))
    assert error is not None
    assert chunks == []
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize("value", ["soon", "-5", "nan", "", "1e9", "²", "9" * 400])
async def test_a_strange_retry_after_does_no_harm(upstream: Upstream, value: str) -> None:
    async with provider(upstream.base_url) as source, asyncio.timeout(2):
        await read(source, asking(f"error-before?status=429&times=1&retry-after={value}"))
    assert 1 <= len(upstream.journal.exchanges) <= 2


@pytest.mark.parametrize(
    "script", ["error-before?status=0&times=1", "cut?after=0&times=1", "error-mid?after=0&times=1"]
)
async def test_a_connection_lost_before_the_first_word_is_asked_again(upstream: Upstream, script: str) -> None:
    async with provider(upstream.base_url) as source:
        chunks, error = await read(source, asking(script))
    assert error is None
    assert chunks[:4] == [RETRY_NOTICE, *HELLO]


@pytest.mark.parametrize("script", ["error-mid?after=2", "cut?after=2", "end?after=2", "silent?after=2"])
async def test_after_the_first_word_nothing_is_asked_again(upstream: Upstream, script: str) -> None:
    async with provider(upstream.base_url) as source:
        chunks, error = await read(source, asking(script))
    assert chunks == HELLO[:2]
    assert error is not None
    assert error.code == ("provider_timeout" if script.startswith("silent") else "provider_error")
    assert len(upstream.journal.exchanges) == 1


async def test_a_thought_counts_as_a_first_word(upstream: Upstream) -> None:
    thought = b'data: {"choices":[{"delta":{"reasoning":"hm"}}]}\n\ndata: {"error":"down"}\n\n'
    async with provider(upstream.base_url) as source:
        chunks, error = await read(source, asking(raw(thought)))
    assert chunks == [ReasoningDelta("hm")]
    assert error is not None
    assert len(upstream.journal.exchanges) == 1


async def test_nobody_listening_is_a_provider_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with provider(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", max_attempts=2) as source:
            chunks, error = await read(source, asking())
    assert chunks == [RETRY_NOTICE]
    assert error is not None
    assert error.code == "provider_error"


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, b"\x00" * 99])
async def test_a_server_that_speaks_something_else_is_a_provider_error(greeting: bytes) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with provider(base_url, max_attempts=1) as source:
            chunks, error = await read(source, asking())
    assert chunks == []
    assert error is not None
    assert error.code == "provider_error"


async def test_a_host_that_does_not_accept_is_a_time_out() -> None:
    # A listener with a full backlog leaves further connections without an answer.
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        times = Timeouts(connect_s=0.2, idle_s=5, total_s=5)
        base_url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        began = time.monotonic()
        async with provider(base_url, timeouts=times, max_attempts=2) as source:
            chunks, error = await read(source, asking())
    assert chunks == [RETRY_NOTICE]
    assert error is not None
    assert error.code == "provider_timeout"
    assert time.monotonic() - began < 1.5


async def test_silence_is_a_time_out_and_not_asked_again(upstream: Upstream) -> None:
    began = time.monotonic()
    async with provider(upstream.base_url) as source:
        chunks, error = await read(source, asking("silent-before"))
    assert chunks == []
    assert error is not None
    assert error.code == "provider_timeout"
    assert 0.25 < time.monotonic() - began < 1
    assert len(upstream.journal.exchanges) == 1


async def test_words_within_the_idle_limit_go_on_for_as_long_as_they_come(upstream: Upstream) -> None:
    async with provider(upstream.base_url) as source:
        chunks, error = await read(source, asking("slow?n=8&rate=8"))
    assert error is None
    assert sum(isinstance(chunk, TextDelta) for chunk in chunks) == 8


async def test_the_total_limit_ends_an_answer_that_goes_on(upstream: Upstream) -> None:
    began = time.monotonic()
    async with provider(upstream.base_url, timeouts=Timeouts(1, 1, 0.5)) as source:
        chunks, error = await read(source, asking("slow?n=100&rate=20"))
    assert error is not None
    assert error.code == "provider_timeout"
    assert 5 <= len(chunks) <= 15
    assert time.monotonic() - began < 1


async def test_the_total_limit_counts_all_attempts(upstream: Upstream) -> None:
    began = time.monotonic()
    async with provider(upstream.base_url, timeouts=Timeouts(1, 1, 0.5), max_attempts=100) as source:
        _, error = await read(source, asking("error-before?status=500&delay=0.1"))
    assert error is not None
    assert time.monotonic() - began < 1
    assert 2 <= len(upstream.journal.exchanges) <= 6


async def test_a_redirect_is_not_followed(upstream: Upstream) -> None:
    target = upstream.base_url + "/elsewhere"
    async with provider(upstream.base_url) as source:
        _, error = await read(source, asking(f"error-before?status=307&location={target}"))
    assert error is not None
    assert "307" in error.internal
    assert len(upstream.journal.exchanges) == 1


# The output bound's two names


async def test_a_server_that_wants_the_new_name_gets_it_and_is_remembered(upstream: Upstream) -> None:
    request = asking("max-tokens-renamed", bound=2)
    async with provider(upstream.base_url, max_attempts=1) as source:
        chunks, error = await read(source, request)
        assert error is None
        assert chunks[:2] == HELLO[:2]
        await read(source, request)
        await read(source, asking())
    bodies = [exchange.body for exchange in upstream.journal.exchanges]
    assert [("max_tokens" in body, "max_completion_tokens" in body) for body in bodies] == [
        (True, False),
        (False, True),
        (False, True),
        (True, False),
    ]


@pytest.mark.parametrize(
    ("base_url", "new"),
    [
        ("https://api.openai.com/v1", True),
        ("https://EU.api.openai.com/v1", True),
        ("https://api.openai.com.example/v1", False),
        ("https://notapi.openai.com/v1", False),
        ("http://127.0.0.1:11434/v1", False),
    ],
)
async def test_openai_itself_gets_the_new_name_first(base_url: str, new: bool) -> None:
    assert OpenAIProvider(base_url, KEY).output_bound("any") == ("max_completion_tokens" if new else "max_tokens")


# Hostile bytes

WORD = 'data: {"choices":[{"index":0,"delta":{"content":"ü😀"},"finish_reason":null}]}\n\n'.encode()
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
SAID = TextDelta("ü😀")
END = ModelFinished("stop")


@pytest.mark.parametrize("split", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
async def test_bytes_may_be_cut_anywhere(upstream: Upstream, split: int, line_end: bytes) -> None:
    body = (b": hello\n\n" + WORD + b": ping\n\n" + WORD + STOP + DONE).replace(b"\n", line_end)
    async with provider(upstream.base_url) as source:
        assert await read(source, asking(raw(body, split=split))) == ([SAID, SAID, END], None)


@pytest.mark.parametrize(
    ("body", "chunks"),
    [
        (WORD + STOP, [SAID, END]),
        (WORD + DONE, [SAID, ModelFinished("other")]),
        (WORD + STOP + b"data: [DONE]", [SAID, END]),
        (WORD + STOP + DONE + b"data: never read\n\n" + WORD, [SAID, END]),
        (STOP + DONE, [END]),
        (DONE, [ModelFinished("other")]),
    ],
)
async def test_sloppy_but_whole_answers_are_answers(upstream: Upstream, body: bytes, chunks: list[Chunk]) -> None:
    async with provider(upstream.base_url) as source:
        assert await read(source, asking(raw(body))) == (chunks, None)


async def test_a_reset_after_the_model_stopped_loses_only_the_usage(upstream: Upstream) -> None:
    async with provider(upstream.base_url) as source:
        assert await read(source, asking(raw(WORD, STOP, abort=1))) == ([SAID, END], None)


@pytest.mark.parametrize(
    "body",
    [
        WORD,
        WORD + b"data: {",
        WORD + b"data: garbage\n\n" + STOP + DONE,
        WORD + b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n' + STOP + DONE,
        WORD + b'data: {"choices":[{"delta":{"content":7}}]}\n\n' + STOP + DONE,
        WORD + b'event: error\ndata: {"error":{"message":"down"}}\n\n' + DONE,
        WORD + b"data: " + b"x" * 1_100_000,
        WORD + b"data: xxxxxxxx\n" * 140_000,
        WORD + b"\x00" * 5000,
    ],
)
async def test_broken_answers_keep_what_came_before(upstream: Upstream, body: bytes) -> None:
    async with provider(upstream.base_url) as source:
        chunks, error = await read(source, asking(raw(body)))
    assert chunks == [SAID]
    assert error is not None
    assert error.code == "provider_error"
    assert len(error.internal) <= 500


@pytest.mark.parametrize("body", [b"", b"\n\n\n", b": ping\n\n", b"<html>Welcome</html>", b"data: {}\n\n"])
async def test_nothing_said_is_no_answer(upstream: Upstream, body: bytes) -> None:
    async with provider(upstream.base_url, max_attempts=2) as source:
        chunks, error = await read(source, asking(raw(body)))
    assert chunks == [RETRY_NOTICE]
    assert error is not None


@pytest.mark.parametrize("content_type", ["application/json", "text/html;charset=utf-8"])
async def test_what_is_no_stream_is_refused_once(upstream: Upstream, content_type: str) -> None:
    async with provider(upstream.base_url) as source:
        _, error = await read(source, asking(raw(b'{"choices":[]}', type=content_type)))
    assert error is not None
    assert "HTTP 200" in error.internal
    assert len(upstream.journal.exchanges) == 1


# Secrets and configuration


@pytest.mark.parametrize("pad", [0, 456, 458, 460, 462, 470])  # the longer ones put the key where the text is cut
async def test_a_key_that_a_provider_repeats_is_scrubbed(
    upstream: Upstream, caplog: pytest.LogCaptureFixture, pad: int
) -> None:
    caplog.set_level(logging.DEBUG)
    async with provider(upstream.base_url) as source:
        for script in (
            f"error-before?status=401&leak=1&code={'p' * pad}",
            raw(b'data: {"error":"' + b"p" * pad + b" " + KEY.encode() + b'"}\n\n'),
        ):
            _, error = await read(source, asking(script))
            assert error is not None
            told = "".join(traceback.format_exception(error)) + repr(error) + repr(source) + caplog.text
            for piece in (KEY, KEY[:12], KEY[-8:]):
                assert piece not in told


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "api.example/v1",
        "ftp://x.example",
        "http://",
        "http://u:p@x.example",
        "http://x.example:port",
        "http://x?k=1",
    ],
)
async def test_a_base_url_that_cannot_be_is_refused_without_repeating_it(base_url: str) -> None:
    with pytest.raises(ValueError, match="base URL") as raised:
        OpenAIProvider(base_url, KEY)
    assert not base_url or base_url not in str(raised.value)


@pytest.mark.parametrize("key", ["a\nb", "a b", "ü", "a\r\nX-Evil: 1", "\x00"])
async def test_a_key_that_no_header_carries_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(ValueError, match="API key") as raised:
        OpenAIProvider("http://x.example", key)
    assert key not in str(raised.value)
