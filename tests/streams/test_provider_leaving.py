"""Who stops reading an answer closes the provider's socket, at once and wherever the answer was."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator

import pytest

from streams.events import TextDelta
from streams.messages import ChatMessage, TextPart
from streams.providers.base import ModelRequest
from streams.providers.openai import OpenAIProvider, Timeouts
from tests.upstream.journal import Exchange
from tests.upstream.server import Upstream, scripted_upstream

pytestmark = pytest.mark.asyncio


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with scripted_upstream() as running:
        yield running


@pytest.fixture
async def source(upstream: Upstream) -> AsyncIterator[OpenAIProvider]:
    opened = OpenAIProvider(upstream.base_url, "key", timeouts=Timeouts(1, 5, 100), retry_delay_s=30)
    yield opened
    await opened.aclose()


def asking(script: str) -> ModelRequest:
    return ModelRequest(f"scripted/{script}", (ChatMessage("user", (TextPart("Hi"),)),), max_output_tokens=10_000_000)


async def closed_at(exchange: Exchange) -> float:
    """When the server saw its client leave."""
    async with asyncio.timeout(2):
        while exchange.client_closed_at is None:
            await asyncio.sleep(0.0005)
    return exchange.client_closed_at


async def test_closing_the_generator_closes_the_socket_within_10_ms(upstream: Upstream, source: OpenAIProvider) -> None:
    lags = []
    for _ in range(21):
        answer = source.stream(asking("slow?n=100&rate=20"))
        await anext(answer)
        left = time.monotonic()
        await answer.aclose()
        lags.append(await closed_at(upstream.journal.last()) - left)
    assert statistics.median(lags) <= 0.010
    assert upstream.journal.last().tokens_sent < 5


@pytest.mark.parametrize(
    "script", ["silent-before", "silent?after=0", "silent?after=2", "slow?n=100&rate=5", "flood?n=10000000"]
)
async def test_cancelling_the_reader_closes_the_socket(upstream: Upstream, source: OpenAIProvider, script: str) -> None:
    async def read() -> None:
        async for _ in source.stream(asking(script)):
            await asyncio.sleep(0)

    reader = asyncio.create_task(read())
    await asyncio.sleep(0.15)
    assert upstream.journal.last().client_closed_at is None
    left = time.monotonic()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert await closed_at(upstream.journal.last()) - left < 0.2


async def test_cancelling_while_waiting_to_ask_again_asks_no_more(upstream: Upstream, source: OpenAIProvider) -> None:
    answer = source.stream(asking("error-before?status=500"))
    assert (await anext(answer))[0].code == "provider_retry"
    waiting = asyncio.create_task(anext(answer))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0.05)
    assert len(upstream.journal.exchanges) == 1


async def test_a_reader_that_stops_reading_holds_the_provider_back(upstream: Upstream, source: OpenAIProvider) -> None:
    answer = source.stream(asking("flood?n=10000000"))
    await anext(answer)
    await asyncio.sleep(0.5)
    sent = upstream.journal.last().tokens_sent
    await asyncio.sleep(0.3)
    assert upstream.journal.last().tokens_sent == sent, "the provider ran on while nobody read"
    await anext(answer)  # and goes on from there
    left = time.monotonic()
    await answer.aclose()
    assert await closed_at(upstream.journal.last()) - left < 0.2


async def test_leaving_one_answer_leaves_its_neighbours_alone(upstream: Upstream, source: OpenAIProvider) -> None:
    async def whole() -> int:
        tokens = 0
        async for chunks in source.stream(asking("slow?n=20&rate=40")):
            tokens += len(chunks)
        return tokens

    neighbours = [asyncio.create_task(whole()) for _ in range(5)]
    leaving = source.stream(asking("slow?n=100&rate=20"))
    await anext(leaving)
    await leaving.aclose()
    assert await asyncio.gather(*neighbours) == [22] * 5


async def test_closing_the_provider_closes_idle_connections(upstream: Upstream, source: OpenAIProvider) -> None:
    async for _ in source.stream(asking("echo")):
        pass
    assert len(upstream.connections) == 1
    await source.aclose()
    async with asyncio.timeout(1):
        while upstream.connections:
            await asyncio.sleep(0.001)


async def test_a_reader_that_pauses_now_and_then_misses_nothing(upstream: Upstream, source: OpenAIProvider) -> None:
    words, pauses, held_back = "", 0, False
    async for chunks in source.stream(asking("flood?n=150000")):
        words += "".join(chunk.text for chunk in chunks if isinstance(chunk, TextDelta))
        if len(words) > pauses * 300_000:
            pauses += 1
            sent = upstream.journal.last().tokens_sent
            await asyncio.sleep(0.15)
            held_back |= sent < upstream.journal.last().tokens_sent < 150_000
    assert words == "".join(f"tok{number} " for number in range(150_000))
    assert pauses > 3
    assert held_back, "the reader's pauses never reached the provider: this tried nothing"
