"""How tests ask the scripted server through the product's own provider."""

import base64
import contextlib
from collections.abc import AsyncIterator

from streams.messages import ChatMessage, TextPart
from streams.providers.base import Chunk, ModelRequest, ProviderError
from streams.providers.openai import OpenAIProvider, Timeouts

KEY = "sk-secret-0123456789"
QUICK = Timeouts(connect_s=1, idle_s=0.3, total_s=5)


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
    body = base64.urlsafe_b64encode(b"".join(pieces)).decode().replace("=", "%3D")
    return f"raw?body={body}" + "".join(f"&{name}={value}" for name, value in options.items())
