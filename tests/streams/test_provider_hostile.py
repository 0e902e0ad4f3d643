"""Hostile and careless providers, and configuration that cannot be: nothing spoils what came before, no key leaks."""

import logging
import traceback
from collections.abc import AsyncIterator

import pytest

from streams.events import TextDelta
from streams.providers.base import Chunk, ModelFinished
from streams.providers.openai import RETRY_NOTICE, OpenAIProvider
from tests.upstream.asking import KEY, asking, provider, raw, read
from tests.upstream.server import Upstream, scripted_upstream

pytestmark = pytest.mark.asyncio


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with scripted_upstream() as running:
        yield running


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
