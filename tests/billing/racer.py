"""One of the processes of a race for credit: sends ledger items over many connections at once (`test_ledger_race`).

Reads a job as a line of JSON {conninfo, connections, statement, items}, says `ready`, waits for a line, and then prints
the rows the statement answered, one list of JSON, in the order of the items. Without connections all items go through
this process's door at once.
"""

import asyncio
import json
import sys
from typing import Any

import psycopg

from billing import ledger
from billing.door import Door
from billing.ledger import Item


async def run(job: dict[str, Any]) -> list[list[Any]]:
    """All items are in flight from the start, as far as there are connections for them."""
    if not job["connections"]:
        return await run_through_door(job)
    connections = [
        await psycopg.AsyncConnection.connect(job["conninfo"], autocommit=True, prepare_threshold=1)
        for _ in range(job["connections"])
    ]
    waiting = list(enumerate(job["items"]))
    answers: list[Any] = [None] * len(waiting)

    async def work(connection: psycopg.AsyncConnection) -> None:
        while waiting:
            place, item = waiting.pop()
            cursor = await connection.execute(job["statement"], [json.dumps([item])])
            answers[place] = await cursor.fetchone()

    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    await asyncio.gather(*(work(connection) for connection in connections))
    for connection in connections:
        await connection.close()
    return answers


async def run_through_door(job: dict[str, Any]) -> list[list[Any]]:
    """Every item in flight at once, as turns send them."""
    door = Door(job["conninfo"])
    items = [Item(**item) for item in job["items"]]
    await door.submit(ledger.sweep(account="nobody's, to connect"))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    answers = await asyncio.gather(*(door.submit(item) for item in items))
    await door.aclose()
    return [list(answer) for answer in answers]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(run(json.loads(sys.stdin.readline())))) + "\n")
