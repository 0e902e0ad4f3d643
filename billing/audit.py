"""The auditor of the books: recomputes every balance and hold from the entries (billing/sql/ledger_audit.sql)."""

from pathlib import Path
from typing import NamedTuple

from django.db import connection

STATEMENT = (Path(__file__).resolve().parent / "sql" / "ledger_audit.sql").read_text()


class Violation(NamedTuple):
    """A broken law: the account (a workspace's id; None where it concerns all), the row, and what was found."""

    law: str
    account: str | None
    subject: str
    detail: str


def violations() -> list[Violation]:
    """Every law of money that is broken at this moment; an empty list means that the books are right."""
    return read(STATEMENT)


def read(statement: str) -> list[Violation]:
    """The rows of an auditing statement, which selects law, account, subject and detail."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return [Violation(*row) for row in cursor.fetchall()]
