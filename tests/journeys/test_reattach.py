"""Coming back to a turn: by chat or conversation, from the start or from where one was, alone or together."""

import asyncio
from typing import Any

import pytest

from tests.journeys.books import Books, price, tokens
from tests.journeys.talk import Client, Reply, checked_ui, kinds, text_of, ui_body
from tests.journeys.world import World
from tests.streams import ui_checker

CHAT = "a-chat-long-enough"
PROMPT = "scripted/slow?n=60&rate=60"
ANSWER = "".join(f"tok{n} " for n in range(60))


@pytest.fixture
def patient(books: Books) -> World:
    """A world whose agent goes on when its readers leave."""
    return World(books, on_disconnect="finish")


async def begin(client: Client, world: World, **headers: str) -> tuple[Reply, list[dict[str, Any]]]:
    reply = await client.post(world.path, {"id": CHAT, "message": PROMPT}, **headers)
    return reply, await reply.until("text-delta", 10)


@pytest.mark.parametrize("named_by", ["chat", "conversation"])
async def test_none_lost_none_twice(client: Client, patient: World, named_by: str) -> None:
    """Leaving at every event and coming back with Last-Event-ID tells the whole story once."""
    reply, seen = await begin(client, patient)
    name = CHAT if named_by == "chat" else reply.headers["X-Conversation-Id"]
    reply.leave()
    while seen[-1]["type"] != "done":
        async with await client.get(f"{patient.path}/{name}/stream", Last_Event_ID=str(seen[-1]["seq"])) as again:
            assert again.headers["X-Stream-Dialect"] == "plain"
            count = 0
            async for event in again.events():
                seen.append(event)
                count += 1
                if count == 7:
                    break

    numbers = [event["seq"] for event in seen]
    assert numbers == sorted(set(numbers))
    assert text_of(seen) == ANSWER
    assert kinds(seen) == ["start", "text-delta", "done"]
    await patient.nothing_is_open(turns=1)
    assert patient.spent == price(tokens(PROMPT), 60)


async def test_by_query_instead_of_header(client: Client, patient: World) -> None:
    reply, seen = await begin(client, patient)
    reply.leave()
    async with await client.get(f"{patient.path}/{CHAT}/stream?after={seen[-1]['seq']}") as again:
        assert text_of(seen) + text_of(await again.all()) == ANSWER


async def test_plain_from_the_beginning(client: Client, patient: World) -> None:
    reply, _ = await begin(client, patient)
    async with await client.get(f"{patient.path}/{CHAT}/stream") as again:
        assert text_of(await again.all()) == ANSWER
    assert text_of(await reply.all()) != ""


async def test_ui_replays_the_whole(client: Client, patient: World) -> None:
    reply = await client.post(patient.path, ui_body(PROMPT, CHAT))
    await reply.until("text-delta", 10)
    reply.leave()
    async with await client.get(f"{patient.path}/{CHAT}/stream") as again:
        chunks = checked_ui(await again.body())

    assert ui_checker.text_of(chunks) == ANSWER
    await patient.nothing_is_open(turns=1)
    async with await client.get(f"{patient.path}/{CHAT}/stream") as late:
        assert (late.status, await late.body()) == (204, b"")


async def test_json_waits_for_the_end(client: Client, patient: World) -> None:
    reply, _ = await begin(client, patient)
    async with await client.get(f"{patient.path}/{CHAT}/stream", Accept="application/json") as again:
        assert (await again.json())["text"] == ANSWER
    reply.leave()


async def test_a_finished_log_can_still_be_read(client: Client, world: World) -> None:
    reply, seen = await begin(client, world)
    seen += await reply.all()
    async with await client.get(f"{world.path}/{CHAT}/stream", Last_Event_ID=str(seen[20]["seq"])) as again:
        assert await again.all() == seen[21:]
    async with await client.get(f"{world.path}/{CHAT}/stream", Last_Event_ID=str(seen[-1]["seq"])) as again:
        assert await again.all() == []


async def test_nothing_to_come_back_to(client: Client, world: World) -> None:
    for name in ("a-chat-that-never-was", "conv_01h455vb4pex5vsknk084sn02q", "%20"):
        async with await client.get(f"{world.path}/{name}/stream") as reply:
            assert (reply.status, await reply.body()) == (204, b"")
        async with await client.post(f"{world.path}/{name}/stop", "") as reply:
            assert await reply.json() == {"stopped": False, "turn_id": None}
    async with await client.get(f"{world.path}/{CHAT}/stream", Last_Event_ID="seven") as reply:
        assert reply.status == 400


async def test_two_readers_hear_the_same(client: Client, world: World) -> None:
    """With `stop` the turn ends when the last of them leaves, not the first."""
    first, seen = await begin(client, world)
    second = await client.get(f"{world.path}/{CHAT}/stream", Last_Event_ID="0")
    also = await second.until("text-delta", 15)
    first.leave()
    also += await second.all()

    assert text_of(also) == ANSWER
    assert also[: len(seen)] == seen
    [turn] = await world.nothing_is_open(turns=1)
    assert turn["ending"] == "finished"


async def test_a_slow_reader_holds_back_nobody(client: Client, books: Books) -> None:
    """One reader takes nothing of some megabytes, the other takes all."""
    world = World(books, max_output_tokens=200_000, nano=500_000_000_000)
    prompt = "scripted/flood?n=100000"
    stuck = await client.post(world.path, {"id": CHAT, "message": prompt})
    await asyncio.sleep(0.05)
    async with await client.get(f"{world.path}/{CHAT}/stream", Last_Event_ID="0") as quick:
        events = await asyncio.wait_for(quick.all(), 20)
    assert events[-1]["type"] == "done"
    assert len(text_of(events).split()) == 100_000
    [turn] = await world.nothing_is_open(turns=1)
    assert turn["ending"] == "finished"
    late = await asyncio.wait_for(stuck.all(), 20)
    assert text_of(late) == text_of(events)


async def test_short_ids_name_nothing_on_a_shared_credential(client: Client, world: World) -> None:
    first = await client.post(world.path, {"id": "short", "message": PROMPT})
    await first.until("text-delta", 5)
    second = await client.post(world.path, {"id": "short", "message": PROMPT})
    await second.until("text-delta", 5)
    async with await client.get(f"{world.path}/short/stream") as reply:
        assert reply.status == 204
    async with await client.post(f"{world.path}/short/stop", "") as reply:
        assert (await reply.json())["stopped"] is False
    for reply in (first, second):
        assert (await reply.all())[-1]["finishReason"] == "stop"
    assert first.headers["X-Conversation-Id"] != second.headers["X-Conversation-Id"]
    await world.nothing_is_open(turns=2)


async def test_a_members_own_chat_may_have_a_short_id(client: Client, world: World) -> None:
    member = world.session(world.user_id)
    path = f"{world.open_path}/test"
    reply = await client.post(path, {"id": "1", "message": PROMPT}, **member)
    await reply.until("text-delta", 5)
    async with await client.post(f"{path}/1/stop", "", **member) as stopped:
        assert (await stopped.json())["stopped"] is True
    assert (await reply.all())[-1]["finishReason"] == "aborted"


async def test_chats_belong_to_their_credential(client: Client, world: World) -> None:
    """The same name under another secret, a key, a member or another agent is another chat."""
    reply, _ = await begin(client, world)
    conversation = reply.headers["X-Conversation-Id"]
    other = f"{world.open_path}/{world.new_secret()}"
    key = {"Authorization": f"Bearer {world.new_key('streams:open')}"}
    for path, headers in [
        (other, {}),
        (f"{world.open_path}/test", key),
        (f"{world.open_path}/test", world.session(world.user_id)),
    ]:
        for name in (CHAT, conversation):
            async with await client.get(f"{path}/{name}/stream", **headers) as found:
                assert found.status == 204
            async with await client.post(f"{path}/{name}/stop", "", **headers) as stopped:
                assert (await stopped.json())["stopped"] is False
        async with await client.post(path, "hello", **headers, X_Conversation_Id=conversation) as refused:
            assert refused.status == 404
    assert (await reply.all())[-1]["finishReason"] == "stop"


async def test_a_secret_names_its_chats_by_path_and_by_header(client: Client, patient: World) -> None:
    """One credential, two doors: what began at one goes on, and is stopped, at the other."""
    told = {"Authorization": f"Bearer {patient.secret}"}
    reply = await client.post(patient.open_path, {"id": CHAT, "message": "scripted/slow?n=600&rate=60"}, **told)
    seen = await reply.until("text-delta", 10)
    reply.leave()
    for path, headers in [(patient.path, {}), (patient.open_path, told)]:
        last = str(seen[-1]["seq"])
        async with await client.get(f"{path}/{CHAT}/stream/", Last_Event_ID=last, **headers) as again:
            seen += await again.until("text-delta", 10)
    async with await client.post(f"{patient.open_path}/{CHAT}/stop", "", **told) as stopped:
        assert (await stopped.json())["stopped"] is True

    async with await client.get(f"{patient.path}/{CHAT}/stream", Last_Event_ID=str(seen[-1]["seq"])) as again:
        seen += await again.all()
    numbers = [event["seq"] for event in seen]
    assert numbers == sorted(set(numbers))
    assert text_of(seen) == "".join(f"tok{n} " for n in range(len(text_of(seen).split())))
    assert seen[-1]["finishReason"] == "aborted"
    await patient.nothing_is_open(turns=1)


async def test_a_key_names_its_chats_by_long_ids(client: Client, world: World) -> None:
    test, key = f"{world.open_path}/test", {"Authorization": f"Bearer {world.new_key('streams:open')}"}
    for name, found in [("short", False), (CHAT, True)]:
        reply = await client.post(test, {"id": name, "message": PROMPT}, **key)
        await reply.until("text-delta", 5)
        async with await client.post(f"{test}/{name}/stop", "", **key) as stopped:
            assert (await stopped.json())["stopped"] is found
        assert (await reply.all())[-1]["finishReason"] == ("aborted" if found else "stop")
    await world.nothing_is_open(turns=2)


async def test_rotation_keeps_chats(client: Client, world: World, books: Books) -> None:
    reply, _ = await begin(client, world)
    lineage = books.one("SELECT lineage FROM agents_streamsecret WHERE agent_id = %s", world.agent_id)["lineage"]
    successor = f"{world.open_path}/{world.new_secret(lineage=lineage)}"
    async with await client.post(f"{successor}/{CHAT}/stop", "") as stopped:
        assert (await stopped.json())["stopped"] is True
    assert (await reply.all())[-1]["finishReason"] == "aborted"
    async with await client.post(successor, "and on", X_Conversation_Id=reply.headers["X-Conversation-Id"]) as more:
        assert (await more.all())[-1]["type"] == "done"
        assert more.headers["X-Conversation-Id"] == reply.headers["X-Conversation-Id"]
    await world.nothing_is_open(turns=2)


async def test_a_conversation_goes_on_with_what_was_said(client: Client, world: World, upstream: Any) -> None:
    async with await client.post(world.path, "my name is Ada") as reply:
        await reply.body()
    conversation = reply.headers["X-Conversation-Id"]
    async with await client.post(world.path, "and yours", X_Conversation_Id=conversation) as reply:
        await reply.body()
    asked = [(message["role"], message["content"]) for message in upstream.journal.last().body["messages"]]
    assert asked == [("user", "my name is Ada"), ("assistant", "my name is Ada"), ("user", "and yours")]
    await world.nothing_is_open(turns=2)
