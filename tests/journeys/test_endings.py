"""Every ending of a turn without tools: what the client reads, what is charged, and that nothing is left open.

A row of design's table each. The charge is computed here from the price and the text, never asked of the product.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from billing import ledger, money
from tests.journeys.books import Books, price, tokens
from tests.journeys.talk import Client, checked_ui, kinds, reread, text_of, ui_body
from tests.journeys.world import USD, World
from tests.streams import ui_checker
from tests.upstream.server import Upstream

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


async def test_a_provider_that_heeds_no_limit(client: Client, books: Books, upstream: Upstream) -> None:
    world, prompt = World(books, max_output_tokens=6), "scripted/ignore-max-tokens?n=500&rate=200"
    async with await client.post(world.path, prompt) as reply:
        events = await reply.all()

    assert kinds(events) == ["start", "text-delta", "error", "done"]
    assert events[-2]["code"] == "output_limit"
    said = text_of(events)
    assert 6 < tokens(said) <= 8, "a third more than the limit, by our count"
    await the_turn(world, "output_limit")
    assert world.spent == own_count(prompt, said)
    await eventually(lambda: upstream.journal.last().client_closed_at)


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


FAILURES = [
    ("scripted/error-before?status=400", "provider_error", 502, 0),
    ("scripted/error-before?status=500", "provider_error", 502, 0),
    ("scripted/error-before?status=0", "provider_error", 502, 0),
    ("scripted/silent-before", "provider_timeout", 504, 0),
    ("scripted/error-mid?after=5&n=20", "provider_error", 200, 5),
    ("scripted/cut?after=5&n=20", "provider_error", 200, 5),
    ("scripted/end?after=5&n=20", "provider_error", 200, 5),
    ("scripted/silent?after=5&n=20", "provider_timeout", 200, 5),
]


@pytest.mark.parametrize(("prompt", "code", "status", "words"), FAILURES)
@pytest.mark.parametrize("dialect", ["plain", "ui", "json"])
async def test_provider_fails(
    client: Client, world: World, upstream: Upstream, dialect: str, prompt: str, code: str, status: int, words: int
) -> None:
    async with await client.post(world.path, prompt, X_Stream_Dialect=dialect) as reply:
        body = await reply.body()

    turn = await the_turn(world, code)
    said = "".join(f"tok{n} " for n in range(words))
    charged = own_count(prompt, said) if words else 0
    assert turn["answer"] == said
    assert world.spent == charged
    assert b"scripted server" not in body, "the provider's own words are not for clients"
    if dialect == "json":
        _json_tells_of_a_failure(reply.status, await reply.json(), status, code, charged)
    elif dialect == "ui":
        chunks = checked_ui(body)
        assert [chunk["type"] for chunk in chunks][-2:] == ["data-error", "error"]
        assert chunks[-2]["data"]["code"] == code
    else:
        events = reread(body)
        assert kinds(events)[-2:] == ["error", "done"]
        assert (events[-2]["code"], events[-1]["finishReason"]) == (code, "error")
        assert events[-2]["requestId"] == reply.headers["X-Request-Id"]
        assert events[-1]["cost"] == money.usd(charged)
    if words:
        await eventually(lambda: not upstream.connections or upstream.journal.last().completed_at)


def _json_tells_of_a_failure(found: int, told: dict[str, Any], status: int, code: str, charged: int) -> None:
    assert found == status
    if status == 200:
        assert (told["finish_reason"], told["error"]["code"]) == ("error", code)
        assert told["cost"] == money.usd(charged)
    else:
        assert (told["code"], told["status"]) == (code, status)
        assert told["request_id"].startswith("req_")


async def test_usage_missing(client: Client, world: World) -> None:
    prompt = "scripted/no-usage twelve words or rather fewer"
    async with await client.post(world.path, prompt) as reply:
        events = await reply.all()

    turn = await the_turn(world, "finished")
    assert events[-1]["usage"]["estimated"] is True
    assert world.spent == own_count(prompt, turn["answer"])


async def test_usage_beyond_what_was_held(client: Client, books: Books) -> None:
    """The provider's word counts: beyond the hold the balance pays, and what it cannot pay is on record."""
    prompt = "scripted/wrong-usage?input=100&output=50000 hello"
    rich, poor = World(books), World(books, nano=USD // 100)
    async with await client.post(rich.path, prompt) as reply:
        assert (await reply.all())[-1]["finishReason"] == "stop"
    async with await client.post(poor.path, prompt) as reply:
        assert (await reply.all())[-1]["cost"] == money.usd(USD // 100)

    await the_turn(rich, "finished")
    assert rich.spent == price(100, 50_000)
    turn = await the_turn(poor, "finished")
    assert poor.spent == USD // 100
    assert books.hold(turn["id"])["uncovered_nano"] == price(100, 50_000) - USD // 100


async def test_usage_that_denies_the_text(client: Client, world: World) -> None:
    prompt = "scripted/wrong-usage?input=0&output=0 hello again"
    async with await client.post(world.path, prompt) as reply:
        events = await reply.all()

    assert events[-1]["usage"]["estimated"] is True
    await the_turn(world, "finished")
    assert world.spent == own_count(prompt, "hello again")


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


PROMPTS = ["a " * 60, "scripted/slow?n=500&rate=300", "scripted/ignore-max-tokens?n=500&rate=300"]


@pytest.mark.parametrize("prompt", PROMPTS, ids=["heeds the limit", "long words", "heeds no limit"])
async def test_credits_ran_out_mid_stream(client: Client, books: Books, upstream: Upstream, prompt: str) -> None:
    """The answer ends at the last word that could be paid, whether or not the provider heeds the limit it is given."""
    prompt = prompt.strip()
    reserved_prompt = (len(prompt) + 2) // 3 + 8
    world = World(books, nano=price(reserved_prompt, 40) + 1)
    async with await client.post(world.path, prompt) as reply:
        events = await reply.all()

    assert kinds(events) == ["start", "text-delta", "error", "done"]
    assert events[-2]["code"] == "insufficient_credits"
    assert (events[-2]["workspaceId"], events[-2]["currency"]) == (world.workspace_id, "USD")
    assert upstream.journal.last().body["max_tokens"] == 40
    turn = await the_turn(world, "insufficient_credits")
    answer = turn["answer"]
    assert answer == text_of(events) != ""
    assert world.spent == own_count(prompt, answer) if turn["estimated"] else price(tokens(prompt), 40)
    assert turn["estimated"] == prompt.startswith("scripted/")
    assert books.hold(turn["id"])["uncovered_nano"] == 0


@pytest.mark.parametrize("dialect", ["plain", "ui", "json"])
async def test_no_credit_at_all(client: Client, books: Books, upstream: Upstream, dialect: str) -> None:
    world = World(books, nano=0)
    async with await client.post(world.path, "hello", X_Stream_Dialect=dialect) as reply:
        body = await reply.body()

    least = price(2 + 8, 16)
    money_fields = {"required": money.usd(least), "available": "0", "currency": "USD"}
    if dialect == "json":
        told = await reply.json()
        assert (reply.status, told["code"]) == (402, "insufficient_credits")
        assert money_fields.items() <= told.items()
        assert told["workspace_id"] == world.workspace_id
    elif dialect == "ui":
        chunks = checked_ui(body)
        assert (reply.status, [chunk["type"] for chunk in chunks]) == (200, ["data-error", "error"])
        assert money_fields.items() <= chunks[0]["data"].items()
    else:
        events = reread(body)
        assert (reply.status, kinds(events)) == (200, ["error", "done"])
        assert (money_fields | {"code": "insufficient_credits"}).items() <= events[0].items()
        assert events[1]["cost"] == "0"
    await the_turn(world, "insufficient_credits")
    assert world.spent == 0
    assert upstream.journal.exchanges == []


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


async def test_hold_that_lapsed_under_a_running_turn(client: Client, world: World, books: Books) -> None:
    """Swept while it runs: the turn is fenced, its reading was charged, the rest is one adjusting entry."""
    prompt = "scripted/slow?n=2000&rate=50"
    reply = await client.post(world.path, prompt)
    await reply.until("text-delta", 130)
    [running] = books.turns(world.workspace_id)
    await eventually(lambda: books.hold(running["id"])["reading_nano"])
    books.run("UPDATE billing_reservation SET expires_at = now() WHERE turn_id = %s", running["id"])
    books.apply(ledger.sweep(account=world.workspace_id))
    assert books.hold(running["id"])["state"] == "expired"
    events = await reply.all()

    assert [event.get("code") for event in events[-2:]] == ["unavailable", None]
    turn = await the_turn(world, "unavailable")
    hold = books.hold(turn["id"])
    assert hold["charged_nano"] > 0
    assert hold["charged_nano"] + hold["adjusted_nano"] == own_count(prompt, turn["answer"]) == world.spent
    entries = books.rows("SELECT kind FROM billing_ledgerentry WHERE reservation_id = %s ORDER BY number", hold["id"])
    assert [entry["kind"] for entry in entries] == ["charge", "adjustment"]
