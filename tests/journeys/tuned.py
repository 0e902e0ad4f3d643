"""The application with other time constants, so that tests need not wait as long as people do. Nothing else differs."""

import os

from helpmaton.asgi import application
from streams import providers, turns
from streams.providers.openai import OpenAIProvider, Timeouts

__all__ = ["application"]

_make = OpenAIProvider.__init__


def _impatient(self: OpenAIProvider, base_url: str, api_key: str, **options: object) -> None:
    idle_s = float(os.environ.get("TEST_IDLE_S", "60"))
    _make(self, base_url, api_key, **options | {"timeouts": Timeouts(idle_s=idle_s), "retry_delay_s": 0.05})  # type: ignore[arg-type]


OpenAIProvider.__init__ = _impatient  # type: ignore[method-assign]
turns.SETTLE_WAIT_S = float(os.environ.get("TEST_SETTLE_WAIT_S", turns.SETTLE_WAIT_S))
assert providers
