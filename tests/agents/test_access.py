"""Credentials at the edge: one query, remembered for a second and no longer; foreign ones open nothing."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from django.db import connection

from agents import access, secrets, vault
from agents.models import StreamSecret
from billing import ids, postgres
from tests.agents import make

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def secret():
    agent = make.agent(make.workspace())
    return secrets.create_stream_secret(agent, name="site", allowed_origins=["https://a.test"])


@pytest_asyncio.fixture
async def queries(monkeypatch) -> AsyncIterator[list[str]]:
    """The statements that reach the database, which they really do."""
    asked: list[str] = []
    fetch = postgres.fetch_one

    async def counting(statement, parameters):
        asked.append(statement)
        return await fetch(statement, parameters)

    monkeypatch.setattr(postgres, "fetch_one", counting)
    monkeypatch.setattr(access, "_secrets", access.Remembered())
    monkeypatch.setattr(access, "_keys", access.Remembered())
    yield asked
    await asyncio.gather(*access._marking)
    await postgres.close()


def where(new) -> dict[str, str]:
    agent = new.stored.agent
    return {"workspace_id": agent.workspace_id, "agent_id": agent.pk}


async def in_thread(work):
    def closing():
        try:
            return work()
        finally:
            connection.close()

    return await asyncio.to_thread(closing)


async def test_a_secret_opens_its_own_agent_with_one_query_for_many_calls(secret, queries):
    callers = [await access.stream_secret(secret.plain, **where(secret)) for _ in range(5)]
    await asyncio.gather(*access._marking)
    assert {caller.scope for caller in callers} == {secret.stored.lineage}
    assert callers[0].allowed_origins == ("https://a.test",)
    assert callers[0].shared
    assert callers[0].public
    assert len([statement for statement in queries if "SELECT" in statement]) == 1
    used = await in_thread(lambda: StreamSecret.objects.get(pk=secret.stored.pk).last_used_at)
    assert used is not None


async def test_another_agent_or_workspace_is_not_opened(secret, queries):
    place = where(secret)
    assert await access.stream_secret(secret.plain, **place | {"agent_id": ids.new("ag")}) is None
    assert await access.stream_secret(secret.plain, **place | {"workspace_id": ids.new("ws")}) is None


async def test_what_is_malformed_costs_no_query_and_what_is_unknown_one(secret, queries):
    assert await access.stream_secret(secret.plain[:-1] + "!", **where(secret)) is None
    assert queries == []
    unknown = vault.mint(vault.STREAM_SECRET).plain
    for _ in range(3):
        assert await access.stream_secret(unknown, **where(secret)) is None
    assert len(queries) == 1


async def test_the_right_public_id_with_another_secret_behind_it_is_refused(secret, queries):
    forged = secret.plain[:16] + vault.mint(vault.STREAM_SECRET).plain[16:48]
    forged += vault._checksum(forged)
    assert vault.public_id(forged, vault.STREAM_SECRET) == secret.stored.public_id
    assert await access.stream_secret(forged, **where(secret)) is None


async def test_a_revoked_secret_is_refused_within_a_second(secret, queries):
    assert await access.stream_secret(secret.plain, **where(secret)) is not None
    await in_thread(lambda: secrets.revoke(secret.stored))
    await asyncio.sleep(access.TTL_S)
    assert await access.stream_secret(secret.plain, **where(secret)) is None


async def test_the_memory_is_bounded(queries, monkeypatch):
    monkeypatch.setattr(access, "ENTRIES", 10)
    memory = access.Remembered()
    for number in range(30):
        await memory.row(access._SECRET, f"{number:012d}")
    assert len(memory._rows) == 10
