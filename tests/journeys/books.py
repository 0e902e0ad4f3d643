"""The database of the journeys, read and written directly: what was charged, what is held, and how turns ended."""

import asyncio
import time
from typing import Any

import psycopg
from psycopg.rows import dict_row

import billing.audit
import streams.audit
from billing import ledger

MODEL = "journeys-model"
INPUT_NANO = 2_500_000_007
OUTPUT_NANO = 10_000_000_009
"""Per million tokens; odd, so that rounding shows."""


def price(input_tokens: int, output_tokens: int) -> int:
    """What a turn must cost, in nano-dollars: exact, rounded up once."""
    return -(-(input_tokens * INPUT_NANO + output_tokens * OUTPUT_NANO) // 1_000_000)


def tokens(text: str) -> int:
    """Our estimate of a text's tokens: one for every four bytes, rounded up."""
    return -(-len(text.encode()) // 4)


class Books:
    """One database. All statements commit at once."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = psycopg.connect(url, autocommit=True, row_factory=dict_row)

    def rows(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        return self.connection.execute(statement, parameters or None).fetchall()

    def one(self, statement: str, *parameters: Any) -> dict[str, Any]:
        [row] = self.rows(statement, *parameters)
        return row

    def run(self, statement: str, *parameters: Any) -> None:
        self.connection.execute(statement, parameters or None)

    def insert(self, table: str, **values: Any) -> None:
        names = ", ".join(values)
        marks = ", ".join(["%s"] * len(values))
        self.connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(values.values()))

    def apply(self, *items: ledger.Item) -> None:
        """The ledger's own function."""
        self.connection.execute(ledger.STATEMENT, [ledger.encode(items)]).fetchall()

    def account(self, workspace_id: str) -> tuple[int, int]:
        """Balance and what is held of it, in nano-dollars."""
        row = self.one(
            "SELECT balance_nano, held_nano FROM billing_creditaccount WHERE workspace_id = %s", workspace_id
        )
        return row["balance_nano"], row["held_nano"]

    def hold(self, turn_id: str) -> dict[str, Any]:
        return self.one("SELECT * FROM billing_reservation WHERE turn_id = %s", turn_id)

    def turns(self, workspace_id: str) -> list[dict[str, Any]]:
        """The workspace's turns, oldest first, each with its answer's text."""
        return self.rows(
            "SELECT turn.*, COALESCE((SELECT parts -> 0 ->> 'text' FROM streams_message message"
            " WHERE message.turn_id = turn.id AND message.role = 'assistant'), '') AS answer"
            " FROM streams_turn turn WHERE turn.workspace_id = %s ORDER BY turn.id",
            workspace_id,
        )

    async def ended(
        self, workspace_id: str, *, seconds: float = 10.0, count: int | None = None
    ) -> list[dict[str, Any]]:
        """The workspace's turns once all of them (and at least `count`) have ended and nothing is held any more."""
        deadline = time.monotonic() + seconds
        while True:
            turns = self.turns(workspace_id)
            pending = self.rows(
                "SELECT id FROM billing_reservation WHERE account_id = %s AND state = 'pending'", workspace_id
            )
            if not pending and len(turns) >= (count or 0) and all(turn["ended_at"] for turn in turns):
                return turns
            if time.monotonic() > deadline:
                raise AssertionError(f"still open after {seconds} s: {pending}, {turns}")
            await asyncio.sleep(0.02)

    def violations(self) -> list[dict[str, Any]]:
        """What `manage.py audit_ledger` would list."""
        return [*self.rows(billing.audit.STATEMENT), *self.rows(streams.audit.STATEMENT)]

    def connections(self, application: str) -> int:
        """How many connections a stack has open."""
        return self.one("SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = %s", application)["n"]

    def close(self) -> None:
        self.connection.close()
