"""The OpenAI provider against the scripted server, over real sockets: what an answer is."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from streams.events import ReasoningDelta, TextDelta, Usage
from streams.providers.base import ModelFinished
from streams.providers.openai import OpenAIProvider
from tests.upstream.asking import KEY, asking, provider, read
from tests.upstream.server import Upstream, scripted_upstream

pytestmark = pytest.mark.asyncio

HELLO = [TextDelta("Hello "), TextDelta("there "), TextDelta("you")]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with scripted_upstream() as running:
        yield running


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
