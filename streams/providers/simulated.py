"""A model inside the product, for trying it out without a provider: it says of itself that it is simulated.

Its answers depend on nothing but the request. It heeds a few commands in the user's message:
`/slow` (a word a second), `/long` (some 600 words), `/error` (fails after a few words).
"""

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Literal

from billing.pricing import estimate_tokens
from streams.events import TextDelta, Usage
from streams.messages import ChatMessage
from streams.providers.base import Chunk, ModelFinished, ModelRequest, Provider, ProviderError

MODEL = "simulated/echo-1"

SECONDS_PER_WORD = 0.025
SLOW_SECONDS_PER_WORD = 1.0
WORDS_BEFORE_ERROR = 5
QUOTED_CHARACTERS = 200

_COMMAND = re.compile(r"(?<!\S)/(slow|long|error|help)(?!\S)", re.IGNORECASE)
_WORD = re.compile(r"\s*\S+")

_LABEL = "This is a simulated answer: no AI provider is called and nothing here was thought up by a model."
_HINT = (
    "Write /slow for a word a second, /long for an answer of some 600 words, or /error for a failure in the middle. "
    "Once a provider is configured, a real model answers in this place."
)
_FAILING = "This simulated answer will break off now, as you asked with /error, before it reaches its end."
_LONG_PARAGRAPH = (
    "Words arrive one after another, as they would from a real model, so that you can watch how a chat window, a "
    "script or a widget copes with an answer that takes its time. You may stop it, close the window, lose the "
    "connection and come back: what has been said so far is kept, and what it cost is settled once. Credits were "
    "held before the first word and are charged by the words that were really said. Nothing is looked up, nobody is "
    "asked, and the same request gives the same text every time it is made."
)
_LONG_PARAGRAPHS = 6


class SimulatedProvider(Provider):
    """The `Provider` of `simulated/echo-1`. `seconds_per_word` is its ordinary speed; the first word comes at once."""

    name = "simulated"
    simulated = True
    on_abort: Literal["cancel", "drain"] = "cancel"

    def __init__(self, seconds_per_word: float = SECONDS_PER_WORD) -> None:
        self._seconds_per_word = seconds_per_word

    async def stream(self, request: ModelRequest) -> AsyncGenerator[list[Chunk], None]:
        """The answer, a word a list; see `Provider`. The last list is the usage, counted as the product counts, and
        `ModelFinished`. Raises `ProviderError` for `/error`."""
        asked = _last_user_message(request.messages)
        commands = {command.lower() for command in _COMMAND.findall(asked)}
        text = _text(_COMMAND.sub("", asked).strip(), commands, sum(m.role == "user" for m in request.messages))
        text, reason = _bounded(text, request)
        pace_s = SLOW_SECONDS_PER_WORD if "slow" in commands else self._seconds_per_word
        loop = asyncio.get_running_loop()
        started = loop.time()
        for number, word in enumerate(_WORD.findall(text)):
            if number:
                await asyncio.sleep(started + number * pace_s - loop.time())
            if "error" in commands and number == WORDS_BEFORE_ERROR:
                raise ProviderError("provider_error", "the simulated model was told to fail")
            yield [TextDelta(word)]
        usage = Usage(input_tokens=_input_tokens(request), output_tokens=estimate_tokens(text))
        yield [usage, ModelFinished(reason)]

    async def aclose(self) -> None:
        """Nothing is open."""


def _last_user_message(messages: tuple[ChatMessage, ...]) -> str:
    return next((message.text for message in reversed(messages) if message.role == "user"), "")


def _text(question: str, commands: set[str], turn: int) -> str:
    """The whole answer to `question`, the user's message number `turn` of the conversation."""
    if "error" in commands:
        return _FAILING
    if len(question) > QUOTED_CHARACTERS:
        question = question[:QUOTED_CHARACTERS].rstrip() + " …"
    quoted = f'You wrote: "{question}"' if question else "You wrote nothing but a command."
    place = (
        "It is the first message of this conversation." if turn <= 1 else f"It is message {turn} of this conversation."
    )
    opening = f"{_LABEL}\n\n{quoted} {place}"
    if "long" not in commands:
        return f"{opening} {_HINT}"
    paragraphs = [f"{number}. {_LONG_PARAGRAPH}" for number in range(1, _LONG_PARAGRAPHS + 1)]
    return "\n\n".join([opening, *paragraphs])


def _bounded(text: str, request: ModelRequest) -> tuple[str, Literal["stop", "length"]]:
    """The text up to the first stop sequence and within the bound of output tokens, and why it ends there."""
    for sequence in request.stop_sequences:
        if sequence:
            text = text.partition(sequence)[0]
    if estimate_tokens(text) <= request.max_output_tokens:
        return text.rstrip(), "stop"
    within = text.encode("utf-8", "replace")[: max(0, request.max_output_tokens) * 4].decode("utf-8", "ignore")
    return within.rstrip(), "length"


def _input_tokens(request: ModelRequest) -> int:
    return estimate_tokens(request.system or "") + sum(estimate_tokens(message.text) for message in request.messages)
