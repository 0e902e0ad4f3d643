"""Every ending of a turn without tools: what the client reads, what is charged, and that nothing is left open.

A row of design's table each. The charge is computed here from the price and the text, never asked of the product.
"""

import asyncio
import time

import pytest

from billing import money
from tests.journeys.books import Books, price, tokens
from tests.journeys.ends import CHAT, eventually, own_count, the_turn
from tests.journeys.talk import Client, checked_ui, kinds, text_of, ui_body
from tests.journeys.world import World
from tests.streams import ui_checker
from tests.upstream.server import Upstream


async def test_finished_in_plain(client: Client, world: World, upstream: Upstream) -> None:
    prompt = "Good morning, dear model; say this again."
    async with await client.post(world.path, prompt) as reply:
        events = await reply.all()

    assert kinds(events) == ["start", "text-delta", "done"]
    assert text_of(events) == prompt
    words = len(prompt.split())
    charged = price(tokens(prompt), words)
    assert events[-1]["finishReason"] == "stop"
    assert events[-1]["usage"] == {
        "inputTokens": tokens(prompt), "outputTokens": words, "reasoningTokens": 0, "cachedInputTokens": 0,
        "estimated": False,
    }  # fmt: skip
    assert events[-1]["cost"] == money.usd(charged)
    assert [event["seq"] for event in events] == sorted({event["seq"] for event in events})
    turn = await the_turn(world, "finished")
    assert (world.spent, turn["answer"]) == (charged, prompt)
    assert upstream.journal.last().client_closed_at is None


async def test_finished_in_ui(client: Client, world: World) -> None:
    prompt = "Say this in chunks of the other dialect."
    async with await client.post(world.path, ui_body(prompt)) as reply:
        assert reply.headers["x-vercel-ai-ui-message-stream"] == "v1"
        chunks = checked_ui(await reply.body())

    assert ui_checker.text_of(chunks) == prompt
    charged = price(tokens(prompt), len(prompt.split()))
    assert chunks[-1]["messageMetadata"]["cost"] == money.usd(charged)
    await the_turn(world, "finished")
    assert world.spent == charged


async def test_finished_in_json(client: Client, world: World) -> None:
    async with await client.post(world.path, "One two three", X_Stream_Dialect="json") as reply:
        assert reply.status == 200
        told = await reply.json()

    charged = price(tokens("One two three"), 3)
    assert (told["text"], told["finish_reason"], told["cost"]) == ("One two three", "stop", money.usd(charged))
    assert told["turn_id"] == (await the_turn(world, "finished"))["id"]
    assert world.spent == charged


async def test_length_limit(client: Client, books: Books) -> None:
    world, prompt = World(books, max_output_tokens=5), "a b c d e f g"
    async with await client.post(world.path, prompt) as reply:
        events = await reply.all()

    assert events[-1]["finishReason"] == "length", events
    assert text_of(events) == "a b c d e "
    await the_turn(world, "finished")
    assert world.spent == price(tokens(prompt), 5)


@pytest.mark.parametrize("dialect", ["plain", "ui"])
async def test_client_left_while_waiting(client: Client, world: World, upstream: Upstream, dialect: str) -> None:
    reply = await client.post(world.path, "scripted/echo?delay=20 hello", X_Stream_Dialect=dialect)
    await reply.until("start")
    await eventually(lambda: upstream.journal.exchanges)
    reply.leave()

    await eventually(lambda: upstream.journal.last().client_closed_at)
    await the_turn(world, "client_left")
    assert world.spent == 0


@pytest.mark.parametrize("dialect", ["plain", "ui"])
async def test_client_left_while_sending(client: Client, world: World, upstream: Upstream, dialect: str) -> None:
    prompt = "scripted/slow?n=500&rate=100"
    reply = await client.post(world.path, prompt, X_Stream_Dialect=dialect)
    first = await reply.until("text-delta", 10)
    seen = "".join(event.get("textDelta", event.get("delta", "")) for event in first)
    reply.leave()
    left_at = time.monotonic()

    await eventually(lambda: upstream.journal.last().client_closed_at)
    assert upstream.journal.last().client_closed_at - left_at < 0.5
    turn = await the_turn(world, "client_left")
    assert turn["answer"].startswith(seen)
    assert len(turn["answer"].split()) <= upstream.journal.last().tokens_sent
    assert turn["estimated"]
    assert world.spent == own_count(prompt, turn["answer"])


async def test_client_left_before_a_buffered_reply(client: Client, world: World, upstream: Upstream) -> None:
    prompt = "scripted/slow?n=500&rate=100"
    asking = asyncio.ensure_future(client.post(world.path, prompt, X_Stream_Dialect="json"))
    await eventually(lambda: upstream.journal.exchanges and upstream.journal.last().tokens_sent > 5)
    asking.cancel()

    await eventually(lambda: upstream.journal.last().client_closed_at)
    turn = await the_turn(world, "client_left")
    assert world.spent == own_count(prompt, turn["answer"]) > 0


@pytest.mark.parametrize("named_by", ["chat", "conversation"])
@pytest.mark.parametrize("dialect", ["plain", "ui"])
async def test_stop_pressed(client: Client, world: World, upstream: Upstream, named_by: str, dialect: str) -> None:
    prompt = "scripted/slow?n=500&rate=100"
    reply = await client.post(world.path, ui_body(prompt, CHAT), X_Stream_Dialect=dialect)
    await reply.until("text-delta", 5)
    name = CHAT if named_by == "chat" else reply.headers["X-Conversation-Id"]
    async with await client.post(f"{world.path}/{name}/stop", "") as stopped:
        assert (await stopped.json())["stopped"] is True
    pressed_at = time.monotonic()
    events = await reply.all()

    await eventually(lambda: upstream.journal.last().client_closed_at)
    assert upstream.journal.last().client_closed_at - pressed_at < 0.5
    turn = await the_turn(world, "stopped")
    charged = own_count(prompt, turn["answer"])
    assert world.spent == charged
    if dialect == "ui":
        checked_ui(bytes(reply.received))
        assert events[-1]["type"] == "abort"
        assert events[-2]["messageMetadata"]["cost"] == money.usd(charged)
    else:
        assert kinds(events)[-1] == "done"
        assert "error" not in kinds(events)
        assert (events[-1]["finishReason"], events[-1]["cost"]) == ("aborted", money.usd(charged))


async def test_superseded(client: Client, world: World, upstream: Upstream) -> None:
    first_prompt, second_prompt = "scripted/slow?n=500&rate=100", "never mind"
    first = await client.post(world.path, ui_body(first_prompt, CHAT))
    await first.until("text-delta", 5)
    async with await client.post(world.path, ui_body(second_prompt, CHAT)) as second:
        answer = checked_ui(await second.body())
    ended = await first.all()

    checked_ui(bytes(first.received))
    assert ended[-1]["type"] == "abort"
    assert ui_checker.text_of(answer) == second_prompt
    one, two = await world.nothing_is_open(turns=2)
    assert (one["ending"], two["ending"]) == ("superseded", "finished")
    assert one["conversation_id"] == two["conversation_id"]
    assert one["cost_nano"] == own_count(first_prompt, one["answer"])
    assert two["cost_nano"] == price(tokens(second_prompt), 2)
    assert upstream.journal.exchanges[0].client_closed_at is not None


async def test_longest_duration(client: Client, books: Books, upstream: Upstream) -> None:
    world, prompt = World(books, longest_stream_s=1), "scripted/slow?n=500&rate=50"
    begun = time.monotonic()
    async with await client.post(world.path, prompt) as reply:
        events = await reply.all()

    assert 0.9 < time.monotonic() - begun < 3
    assert [event.get("code") for event in events[-2:]] == ["duration_limit", None]
    turn = await the_turn(world, "duration_limit")
    assert world.spent == own_count(prompt, turn["answer"])
    await eventually(lambda: upstream.journal.last().client_closed_at)


async def test_on_disconnect_finish(client: Client, books: Books, upstream: Upstream) -> None:
    world, prompt = World(books, on_disconnect="finish"), "scripted/slow?n=40&rate=100"
    reply = await client.post(world.path, prompt)
    await reply.until("text-delta", 5)
    reply.leave()

    await the_turn(world, "finished")
    assert world.spent == price(tokens(prompt), 40)
    assert upstream.journal.last().client_closed_at is None


async def test_grace_passes(client: Client, books: Books) -> None:
    world, prompt = World(books, disconnect_grace_s=1), "scripted/slow?n=500&rate=50"
    reply = await client.post(world.path, prompt)
    await reply.until("text-delta", 5)
    reply.leave()
    left_at = time.monotonic()

    turn = await the_turn(world, "client_left")
    assert 0.9 < time.monotonic() - left_at < 3
    assert world.spent == own_count(prompt, turn["answer"])


async def test_coming_back_within_the_grace(client: Client, books: Books) -> None:
    world, prompt = World(books, disconnect_grace_s=1), "scripted/slow?n=200&rate=100"
    reply = await client.post(world.path, {"id": CHAT, "message": prompt})
    seen = await reply.until("text-delta", 20)
    reply.leave()
    await asyncio.sleep(0.3)
    async with await client.get(f"{world.path}/{CHAT}/stream", Last_Event_ID=str(seen[-1]["seq"])) as again:
        rest = await again.all()

    assert text_of(seen) + text_of(rest) == "".join(f"tok{n} " for n in range(200))
    await the_turn(world, "finished")
    assert world.spent == price(tokens(prompt), 200)
