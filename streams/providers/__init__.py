"""Who answers: the simulated model, or the configured OpenAI-compatible provider. One client per event loop."""

import asyncio
from weakref import WeakKeyDictionary

from django.conf import settings

from streams.providers.base import Provider
from streams.providers.openai import OpenAIProvider, Timeouts
from streams.providers.simulated import SimulatedProvider

_providers: "WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Provider]]" = WeakKeyDictionary()


def resolve(model: str) -> Provider:
    """The provider of a model: `simulated/…` is ours, every other name belongs to the configured provider."""
    kind = "simulated" if model.startswith("simulated/") else "openai"
    mine = _providers.setdefault(asyncio.get_running_loop(), {})
    if kind not in mine:
        mine[kind] = SimulatedProvider() if kind == "simulated" else _configured()
    return mine[kind]


def _configured() -> Provider:
    return OpenAIProvider(
        base_url=settings.OPENAI_BASE_URL or "https://api.openai.com/v1",
        api_key=settings.OPENAI_API_KEY,
        on_abort=settings.OPENAI_ON_ABORT,
        timeouts=Timeouts(idle_s=settings.OPENAI_IDLE_S),
    )


async def close() -> None:
    """Close this loop's clients."""
    for provider in _providers.pop(asyncio.get_running_loop(), {}).values():
        await provider.aclose()
