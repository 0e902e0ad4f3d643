"""POSTs that may be sent twice: the first reply is kept for a day and given again.

The reply is stored in the transaction that does the work, so that either both are there or neither is: a crash leaves
no key that is taken for ever, and what failed may be tried again under the same key. A second request that comes while
the first still runs finds its advisory lock taken. The body is sealed, since it may hold a secret that is shown once.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple, cast

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from agents.models import IdempotentReply
from agents.problems import Problem
from agents.vault import Sealed

KEPT_FOR = timedelta(hours=24)


class Reply(NamedTuple):
    """What is kept of a response: its status, its body as JSON values and its own headers."""

    status: int
    body: object
    headers: dict[str, str]
    replayed: bool = False


def once(*, caller: str, key: str, request_digest: bytes, work: Callable[[], Reply]) -> Reply:
    """What `work` replies, or what it replied to the first request of `caller` under that key.

    `caller` is the id of a user or API key, `request_digest` 32 bytes that tell requests apart. Raises Problem
    `conflict` while the first one runs, `unprocessable` where the key came with another request, and whatever `work`
    raises, in which case nothing is kept and the work is rolled back.
    """
    with transaction.atomic():
        if not _lock(f"{caller} {key}"):
            raise Problem("conflict", "A request with this Idempotency-Key is still running.")
        kept = IdempotentReply.objects.filter(caller=caller, key=key).first()
        if kept is not None and kept.created_at > timezone.now() - KEPT_FOR:
            if bytes(kept.request_digest) != request_digest:
                raise Problem("unprocessable", "This Idempotency-Key was used for another request.")
            try:
                body, headers = cast("list[Any]", Sealed(settings.FIELD_ENCRYPTION_KEYS).open(kept.sealed_body))
            except ValueError:
                raise Problem("conflict", "It was done before; the key that sealed its reply is gone.") from None
            return Reply(kept.status, body, headers, replayed=True)
        if kept is not None:
            kept.delete()
        reply = work()
        IdempotentReply.objects.create(
            caller=caller,
            key=key,
            request_digest=request_digest,
            status=reply.status,
            sealed_body=Sealed(settings.FIELD_ENCRYPTION_KEYS).seal([reply.body, reply.headers]),
        )
        return reply


def forget_old() -> int:
    """Remove replies that are older than a day; returns how many there were."""
    return IdempotentReply.objects.filter(created_at__lte=timezone.now() - KEPT_FOR).delete()[0]


def _lock(name: str) -> bool:
    """Take a lock that ends with the transaction; False where another transaction has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [f"idempotency {name}"])
        return cursor.fetchone()[0]
