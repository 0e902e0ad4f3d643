"""Who a credential belongs to, for the edge: asynchronous, a cached query at most.

What is found, and what is not, is remembered for a second: a revocation holds everywhere within that time.
"""

import asyncio
import time
from collections import OrderedDict
from contextlib import suppress
from typing import Any

import psycopg

from agents import vault
from agents.callers import Caller
from billing import postgres

TTL_S = 1.0
ENTRIES = 10_000

_SECRET = """
SELECT secret.id, secret.digest, secret.lineage, secret.allowed_origins, secret.agent_id, agent.workspace_id,
       COALESCE(secret.last_used_at < now() - interval '1 minute', true) AS to_mark
  FROM agents_streamsecret secret
  JOIN agents_agent agent ON agent.id = secret.agent_id AND agent.deleted_at IS NULL
  JOIN agents_workspace workspace ON workspace.id = agent.workspace_id AND workspace.deleted_at IS NULL
 WHERE secret.public_id = %s AND secret.revoked_at IS NULL
   AND (secret.expires_at IS NULL OR secret.expires_at > now())
"""
_KEY = """
SELECT key.id, key.digest, key.scopes, key.workspace_id,
       COALESCE(key.last_used_at < now() - interval '1 minute', true) AS to_mark
  FROM agents_apikey key
  JOIN agents_workspace workspace ON workspace.id = key.workspace_id AND workspace.deleted_at IS NULL
 WHERE key.public_id = %s AND key.revoked_at IS NULL AND (key.expires_at IS NULL OR key.expires_at > now())
"""
_USED = """
UPDATE {table} SET last_used_at = now()
 WHERE id = %s AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
RETURNING id
"""


class Remembered:
    """A bounded memory of rows by public id, each for TTL_S."""

    def __init__(self) -> None:
        self._rows: OrderedDict[str, tuple[float, dict[str, Any] | None]] = OrderedDict()

    async def row(self, statement: str, public_id: str) -> dict[str, Any] | None:
        now = time.monotonic()
        known = self._rows.get(public_id)
        if known is not None and known[0] > now:
            return known[1]
        row = await postgres.fetch_one(statement, [public_id])
        self._rows[public_id] = (now + TTL_S, row)
        self._rows.move_to_end(public_id)
        if len(self._rows) > ENTRIES:
            self._rows.popitem(last=False)
        return row


_secrets, _keys = Remembered(), Remembered()
_marking: set[asyncio.Task[Any]] = set()


async def stream_secret(plain: str, *, workspace_id: str, agent_id: str) -> Caller | None:
    """The caller that a well-formed stream secret makes, or None where it is unknown, expired or another agent's."""
    public_id = vault.public_id(plain, vault.STREAM_SECRET)
    row = await _secrets.row(_SECRET, public_id) if public_id else None
    if row is None or not vault.matches(plain, row["digest"]):
        return None
    if row["agent_id"] != agent_id or row["workspace_id"] != workspace_id:
        return None
    _mark_used("agents_streamsecret", row)
    return Caller(
        kind="secret",
        scope=row["lineage"],
        shared=True,
        workspace_id=workspace_id,
        credential_id=row["id"],
        agent_id=agent_id,
        allowed_origins=tuple(row["allowed_origins"]),
    )


async def api_key(plain: str, *, workspace_id: str) -> tuple[Caller, frozenset[str]] | None:
    """The caller that a well-formed API key makes, and its scopes; None where it is unknown, expired or foreign."""
    public_id = vault.public_id(plain, vault.API_KEY)
    row = await _keys.row(_KEY, public_id) if public_id else None
    if row is None or not vault.matches(plain, row["digest"]) or row["workspace_id"] != workspace_id:
        return None
    _mark_used("agents_apikey", row)
    caller = Caller(kind="key", scope=row["id"], shared=True, workspace_id=workspace_id, credential_id=row["id"])
    return caller, frozenset(row["scopes"])


def _mark_used(table: str, row: dict[str, Any]) -> None:
    """Note the use, once a minute; nobody waits for it."""
    if not row["to_mark"]:
        return
    row["to_mark"] = False
    task = asyncio.create_task(_mark(table, row["id"]))
    _marking.add(task)
    task.add_done_callback(_marking.discard)


async def _mark(table: str, credential_id: str) -> None:
    with suppress(psycopg.OperationalError):  # the next use will be noted
        await postgres.fetch_one(_USED.format(table=table), [credential_id])
