"""The simulated model: it streams, it counts, it keeps its bounds, and it says what it is."""

import asyncio
import time
from contextlib import aclosing

import pytest

from billing.pricing import estimate_tokens
from streams.events import TextDelta, Usage
from streams.messages import ChatMessage, TextPart
from streams.providers.base import Chunk, ModelFinished, ModelRequest, ProviderError
from streams.providers.simulated import MODEL, SimulatedProvider

FAST = SimulatedProvider(seconds_per_word=0)


def asking(text: str, **fields) -> ModelRequest:
    fields.setdefault("max_output_tokens", 4000)
    return ModelRequest(model=MODEL, messages=(ChatMessage("user", (TextPart(text),)),), **fields)


async def answer(request: ModelRequest, provider: SimulatedProvider = FAST) -> tuple[str, list[Chunk]]:
    """The text of an answer and the chunks of its last list."""
    text, last = "", []
    async for chunks in provider.stream(request):
        text += "".join(chunk.text for chunk in chunks if isinstance(chunk, TextDelta))
        last = chunks
    return text, last


@pytest.mark.asyncio
async def test_it_says_that_it_is_simulated_and_answers_what_was_asked() -> None:
    assert FAST.simulated
    text, (usage, finished) = await answer(asking("Where is my parcel?", system="Be brief."))
    assert "simulated" in text.partition(".")[0]
    assert "no AI provider" in text
    assert '"Where is my parcel?"' in text
    for command in ("/slow", "/long", "/error"):
        assert command in text
    assert finished == ModelFinished("stop")
    expected = estimate_tokens("Be brief.") + estimate_tokens("Where is my parcel?")
    assert usage == Usage(input_tokens=expected, output_tokens=estimate_tokens(text), estimated=False)


@pytest.mark.asyncio
async def test_the_same_request_gives_the_same_text() -> None:
    assert await answer(asking("Hi")) == await answer(asking("Hi"))


@pytest.mark.asyncio
async def test_it_speaks_word_by_word_from_the_start() -> None:
    began, arrivals = time.monotonic(), []
    async with aclosing(SimulatedProvider().stream(asking("Hi"))) as reads:
        async for chunks in reads:
            arrivals.append(time.monotonic() - began)
            assert len(chunks) == 1
            assert len(chunks[0].text.split()) == 1
            if len(arrivals) == 11:
                break
    assert arrivals[0] < 0.05
    assert 0.2 <= arrivals[10] < 0.5  # ten words of 20 to 30 ms, and room for a busy machine


@pytest.mark.asyncio
async def test_slow_is_a_word_a_second() -> None:
    began = time.monotonic()
    async with aclosing(FAST.stream(asking("/slow please"))) as reads:
        await anext(reads)
        first = time.monotonic() - began
        await anext(reads)
        second = time.monotonic() - began
    assert first < 0.2
    assert 0.95 < second < 1.5


@pytest.mark.asyncio
async def test_long_is_some_600_words_and_still_labelled() -> None:
    text, last = await answer(asking("Tell me /long"))
    assert 500 <= len(text.split()) <= 700
    assert "simulated" in text.partition(".")[0]
    assert last[-1] == ModelFinished("stop")


@pytest.mark.asyncio
async def test_error_fails_after_a_few_words() -> None:
    words = []
    with pytest.raises(ProviderError) as raised:
        async for chunks in FAST.stream(asking("now /error")):
            words += chunks
    assert raised.value.code == "provider_error"
    assert 1 <= len(words) <= 8
    assert "simulated" in "".join(word.text for word in words)


@pytest.mark.asyncio
@pytest.mark.parametrize("text", ["a/slow b", "see /errors", "/longer", "http://x/error"])
async def test_a_command_is_a_word_of_its_own(text: str) -> None:
    began = time.monotonic()
    said, _ = await answer(asking(text))
    assert text in said
    assert len(said.split()) < 150
    assert time.monotonic() - began < 0.9


@pytest.mark.asyncio
@pytest.mark.parametrize("bound", [1, 2, 7, 30])
async def test_the_bound_of_output_tokens_holds(bound: int) -> None:
    text, (usage, finished) = await answer(asking("Grüße 😀", max_output_tokens=bound))
    whole, _ = await answer(asking("Grüße 😀"))
    assert estimate_tokens(text) <= bound
    assert estimate_tokens(text) >= bound - 1
    assert whole.startswith(text)
    assert usage.output_tokens == estimate_tokens(text)
    assert finished == ModelFinished("length")


@pytest.mark.asyncio
async def test_a_bound_inside_a_character_cuts_before_it() -> None:
    whole, _ = await answer(asking("😀😀😀😀😀😀"))
    for bound in range(1, estimate_tokens(whole)):
        text, _ = await answer(asking("😀😀😀😀😀😀", max_output_tokens=bound))
        assert whole.startswith(text)


@pytest.mark.asyncio
async def test_it_stops_before_the_first_stop_sequence() -> None:
    text, (usage, finished) = await answer(asking("Hi", stop_sequences=("zzz", "provider", "answer:", "")))
    assert text == "This is a simulated"
    assert finished == ModelFinished("stop")
    assert usage.output_tokens == estimate_tokens(text)


@pytest.mark.asyncio
@pytest.mark.parametrize("text", ["", "/slow", "   ", "x" * 100_000, 'say "quoted" \n\n /help'])
async def test_odd_messages_get_an_answer(text: str) -> None:
    async with asyncio.timeout(5), aclosing(FAST.stream(asking(text))) as reads:
        assert isinstance((await anext(reads))[0], TextDelta)


@pytest.mark.asyncio
async def test_a_long_message_is_quoted_in_part() -> None:
    text, _ = await answer(asking("word " * 10_000))
    assert len(text) < 1000
