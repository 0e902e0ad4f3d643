"""Endings that the provider or the credits bring about: what the client reads, what is charged, what stays open."""

from typing import Any

import pytest

from billing import ledger, money
from tests.journeys.books import Books, price, tokens
from tests.journeys.ends import eventually, own_count, the_turn
from tests.journeys.talk import Client, checked_ui, kinds, reread, text_of
from tests.journeys.world import USD, World
from tests.upstream.server import Upstream


async def test_a_provider_that_heeds_no_limit(client: Client, books: Books, upstream: Upstream) -> None:
    world, prompt = World(books, max_output_tokens=6), "scripted/ignore-max-tokens?n=500&rate=200"
    async with await client.post(world.path, prompt) as reply:
        events = await reply.all()

    assert kinds(events) == ["start", "text-delta", "error", "done"]
    assert events[-2]["code"] == "output_limit"
    said = text_of(events)
    assert 6 < tokens(said) <= 24, "sixteen bytes for each token of the limit"
    await the_turn(world, "output_limit")
    assert world.spent == price(tokens(prompt), 8), "a third more than the limit: what was held"
    await eventually(lambda: upstream.journal.last().client_closed_at)


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
