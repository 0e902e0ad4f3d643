"""What the OpenAI provider does when its provider fails: asks again, or says how it failed."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from streams.events import ReasoningDelta, TextDelta
from streams.providers.openai import RETRY_NOTICE, Timeouts
from tests.upstream.asking import asking, provider, raw, read
from tests.upstream.server import Upstream, scripted_upstream

pytestmark = pytest.mark.asyncio

HELLO = [TextDelta("Hello "), TextDelta("there "), TextDelta("you")]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with scripted_upstream() as running:
        yield running


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
