"""The floor: a bare ASGI application that asks the same provider client and answers in the same dialect.

No credential, no credits, no log, no end but the provider's: what remains is reading, parsing, encoding and sending.
"""

import os
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import msgspec

from streams.events import Entry, Event, Finished, TextDelta, Usage
from streams.messages import ChatMessage, TextPart
from streams.protocols.plain import PlainEncoder
from streams.providers.base import Chunk, ModelFinished, ModelRequest
from streams.providers.openai import OpenAIProvider

MAX_OUTPUT_TOKENS = 4096

Message = dict[str, Any]

_HEAD: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", PlainEncoder.content_type.encode()), (b"cache-control", b"no-cache")],
}


class Relay:
    """One answer on its way through: chunks in, the dialect's bytes out."""

    def __init__(self) -> None:
        self._encoder = PlainEncoder()
        self._length = 0
        self._usage = Usage()

    def frames(self, chunks: list[Chunk]) -> bytes:
        """The bytes for what one read of the provider brought."""
        entries: list[Entry] = []
        for chunk in chunks:
            if isinstance(chunk, TextDelta):
                self._add(entries, chunk)
            elif isinstance(chunk, Usage):
                self._usage = chunk
            elif isinstance(chunk, ModelFinished):
                self._add(entries, Finished(chunk.reason, self._usage, 0))
        return self._encoder.encode(entries)

    def _add(self, entries: list[Entry], event: Event) -> None:
        self._length += 1
        entries.append((self._length, event))


def model_request(body: bytes) -> ModelRequest:
    """What the body `{"message": …}` asks of the model."""
    text = msgspec.json.decode(body, type=dict[str, str])["message"]
    return ModelRequest("scripted/echo", (ChatMessage("user", (TextPart(text),)),), MAX_OUTPUT_TOKENS)


def provider() -> OpenAIProvider:
    """The product's client of the upstream that OPENAI_BASE_URL names."""
    return OpenAIProvider(base_url=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"])


_provider: OpenAIProvider | None = None


async def application(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """The ASGI application."""
    global _provider
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])  # which tells the server that there is no lifespan
    if _provider is None:
        _provider = provider()
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    relay = Relay()
    await send(_HEAD)
    async with aclosing(_provider.stream(model_request(body))) as answer:
        async for chunks in answer:
            if frames := relay.frames(chunks):
                await send({"type": "http.response.body", "body": frames, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
