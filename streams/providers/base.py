"""What a provider is asked and what it answers, whoever it is."""

from collections.abc import AsyncGenerator
from typing import Literal, Protocol

import msgspec

from streams.events import Notice, ReasoningDelta, TextDelta, Usage
from streams.messages import ChatMessage


class ModelRequest(msgspec.Struct, frozen=True):
    """One call to a model. `max_output_tokens` is always given: it is what the held credits can pay for."""

    model: str
    messages: tuple[ChatMessage, ...]
    max_output_tokens: int
    system: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: tuple[str, ...] = ()


class ModelFinished(msgspec.Struct, frozen=True):
    """The model said why it stopped."""

    reason: Literal["stop", "length", "tool-calls", "content-filter", "other"]


Chunk = TextDelta | ReasoningDelta | Notice | Usage | ModelFinished


class ProviderError(Exception):
    """The provider failed. `code` is ours: `provider_error` or `provider_timeout`; the provider's own words stay in
    `internal`, for the log alone."""

    def __init__(self, code: str, internal: str) -> None:
        super().__init__(internal)
        self.code = code
        self.internal = internal

    @property
    def summary(self) -> str:
        """`internal` without the provider's own words, which may repeat what was asked: fit for the log."""
        return self.internal.partition(":")[0]


class Provider(Protocol):
    """A source of answers.

    `stream` yields one list of chunks per read of the provider's bytes, ends after the answer's last byte, and raises
    `ProviderError`. Closing the generator closes the provider's socket at once. `on_abort` says what settles an
    answer that nobody wants any more: `cancel` closes the socket, `drain` reads on for the provider's usage, because
    such a provider bills the rest anyway.
    """

    name: str
    simulated: bool
    on_abort: Literal["cancel", "drain"]

    def stream(self, request: ModelRequest) -> AsyncGenerator[list[Chunk], None]: ...

    async def aclose(self) -> None: ...
