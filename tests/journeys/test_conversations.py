"""A conversation that goes on: the model hears what was said before, and how much of it."""

from streams import admission
from tests.journeys.talk import Client
from tests.journeys.world import World
from tests.upstream.server import Upstream

PROMPT = "scripted/slow?n=2&rate=0"
ANSWER = "tok0 tok1 "


def asked(upstream: Upstream) -> list[tuple[str, str]]:
    """What the provider was asked last, without the system prompt."""
    messages = upstream.journal.last().body["messages"]
    return [(each["role"], each["content"]) for each in messages if each["role"] != "system"]


async def test_a_message_alone_continues_what_is_stored(client: Client, world: World, upstream: Upstream) -> None:
    first = await client.post(world.path, {"message": PROMPT})
    await first.all()
    name = first.headers["X-Conversation-Id"]
    again = await client.post(world.path, {"message": PROMPT}, X_Conversation_Id=name)
    await again.all()
    assert again.headers["X-Conversation-Id"] == name
    assert asked(upstream) == [("user", PROMPT), ("assistant", ANSWER), ("user", PROMPT)]


async def test_a_whole_conversation_is_taken_as_it_is(client: Client, world: World, upstream: Upstream) -> None:
    first = await client.post(world.path, {"message": PROMPT})
    await first.all()
    messages = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": PROMPT},
    ]
    name = first.headers["X-Conversation-Id"]
    await (await client.post(world.path, {"messages": messages}, X_Conversation_Id=name)).all()
    assert asked(upstream) == [("user", "one"), ("assistant", "two"), ("user", PROMPT)]


async def test_only_so_much_is_continued(client: Client, world: World, upstream: Upstream) -> None:
    long = "x" * (admission.HISTORY_BYTES // 2)
    messages = [{"role": "user", "content": long}, {"role": "user", "content": PROMPT}]
    first = await client.post(world.path, {"messages": messages})
    await first.all()
    name = first.headers["X-Conversation-Id"]
    for body in ({"messages": messages}, {"message": PROMPT}):
        await (await client.post(world.path, body, X_Conversation_Id=name)).all()
    continued = asked(upstream)
    assert continued[-1] == ("user", PROMPT)
    assert sum(len(text) for _, text in continued) < admission.HISTORY_BYTES
    assert len(continued) > 1
