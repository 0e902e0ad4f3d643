"""The scripted server is what it stands for: OpenAI's own SDK reads it, and its journal tells the truth."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import aiohttp
import openai
import pytest

from tests.upstream.server import Upstream, scripted_upstream

pytestmark = pytest.mark.asyncio

MESSAGES = [{"role": "user", "content": "Hello there you"}]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with scripted_upstream() as running:
        yield running


@pytest.fixture
async def sdk(upstream: Upstream) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=upstream.base_url, api_key="key", max_retries=0) as client:
        yield client


async def test_the_sdk_reads_a_stream(sdk: openai.AsyncOpenAI) -> None:
    stream = await sdk.chat.completions.create(
        model="scripted/echo", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello there you"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (4, 3)
    assert {c.object for c in chunks} == {"chat.completion.chunk"}


async def test_the_sdk_reads_a_whole_answer(sdk: openai.AsyncOpenAI) -> None:
    reply = await sdk.chat.completions.create(model="scripted/echo", messages=MESSAGES, max_tokens=2)
    assert reply.choices[0].message.content == "Hello there "
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 2


async def test_the_sdk_reads_a_refusal(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as raised:
        await sdk.chat.completions.create(
            model="scripted/error-before?status=429&retry-after=3&code=slow_down", messages=MESSAGES
        )
    assert raised.value.code == "slow_down"
    assert raised.value.response.headers["retry-after"] == "3"


async def test_the_sdk_reads_an_error_in_the_stream(sdk: openai.AsyncOpenAI) -> None:
    stream = await sdk.chat.completions.create(model="scripted/error-mid?after=1", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError, match="broke down"):
        async for _ in stream:
            pass


async def test_a_directive_in_the_message_beats_the_models_name(upstream: Upstream, sdk: openai.AsyncOpenAI) -> None:
    messages = [{"role": "user", "content": "scripted/wrong-usage?output=9 Hello"}]
    reply = await sdk.chat.completions.create(model="scripted/error-before", messages=messages)
    assert reply.choices[0].message.content == "Hello"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 9
    assert upstream.journal.last().script == "scripted/wrong-usage?output=9"


async def test_an_unknown_script_is_an_unknown_model(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await sdk.chat.completions.create(model="scripted/nonsense", messages=MESSAGES)


async def test_the_bound_can_be_ignored(sdk: openai.AsyncOpenAI) -> None:
    reply = await sdk.chat.completions.create(model="scripted/ignore-max-tokens?n=30", messages=MESSAGES, max_tokens=2)
    assert len(reply.choices[0].message.content.split()) == 30


async def test_the_rate_is_kept(sdk: openai.AsyncOpenAI) -> None:
    began = time.monotonic()
    stream = await sdk.chat.completions.create(model="scripted/slow?n=11&rate=20", messages=MESSAGES, stream=True)
    assert len([chunk async for chunk in stream]) == 13
    assert 0.5 <= time.monotonic() - began < 0.8


async def test_the_journal_can_be_read_and_cleared(upstream: Upstream) -> None:
    url = upstream.base_url.removesuffix("/v1") + "/_journal"
    async with aiohttp.ClientSession() as session:
        await session.post(
            upstream.base_url + "/chat/completions", json={"model": "scripted/slow?n=3&rate=100", "stream": True}
        )
        await asyncio.sleep(0.1)
        async with session.get(url) as response:
            (exchange,) = await response.json()
        assert exchange["tokens_sent"] == 3
        assert exchange["opened_at"] <= exchange["received_at"] <= exchange["first_token_at"]
        assert exchange["last_token_at"] - exchange["first_token_at"] >= 0.019
        assert exchange["completed_at"] is not None
        assert exchange["client_closed_at"] is None
        async with session.delete(url) as response:
            assert response.status == 200
        async with session.get(url) as response:
            assert await response.json() == []


async def test_it_runs_as_a_process() -> None:
    command = [sys.executable, "-m", "tests.upstream.server", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, contextlib.ExitStack() as stack:
        stack.callback(server.terminate)
        assert server.stdout is not None
        base_url = server.stdout.readline().strip()
        async with aiohttp.ClientSession() as session:
            body = {"model": "scripted/cut?after=2", "messages": MESSAGES, "stream": True}
            async with session.post(base_url + "/chat/completions", json=body) as response:
                assert response.status == 200
                with pytest.raises(aiohttp.ClientPayloadError):
                    await response.read()
