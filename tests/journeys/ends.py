"""How the tests of endings wait for them and what they compute by themselves."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from tests.journeys.books import price, tokens
from tests.journeys.world import World

CHAT = "chat-of-this-very-test"


async def the_turn(world: World, ending: str) -> dict[str, Any]:
    """The only turn of the world, over and settled."""
    [turn] = await world.nothing_is_open(turns=1)
    assert turn["ending"] == ending
    return turn


def own_count(prompt: str, answer: str) -> int:
    """What a turn without the provider's usage costs."""
    return price(tokens(prompt), tokens(answer))


async def eventually(holds: Callable[[], Any], seconds: float = 3.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not come about in time"
        await asyncio.sleep(0.01)
