"""What runs later: the sweep after killed processes."""

import time
from typing import Any

import structlog
from celery import shared_task
from django.conf import settings
from django.db import connection
from redis import Redis

from billing import sweeping

log = structlog.get_logger(__name__)

LAST_SWEEP_KEY = f"{settings.REDIS_PREFIX}sweep:last"

_CLOSE_LOST = """
UPDATE streams_turn turn
   SET ending = 'server_lost', finish_reason = 'error', estimated = true, ended_at = now(),
       cost_nano = reservation.charged_nano + reservation.adjusted_nano
  FROM billing_reservation reservation
 WHERE turn.ended_at IS NULL
   AND reservation.id = 'res_' || substr(turn.id, 6)
   AND reservation.state <> 'pending'
   AND reservation.closed_at < now() - interval '10 seconds'
"""


@shared_task
def sweep(**_: Any) -> None:
    """Settle lapsed holds, and close the turns that went with them; every 10 s, and when a worker starts."""
    accounts = sweeping.sweep_lapsed_holds()
    with connection.cursor() as cursor:
        cursor.execute(_CLOSE_LOST)
        turns = cursor.rowcount
    if accounts or turns:
        log.warning("lapsed holds settled", accounts=accounts, lost_turns=turns)
    with Redis.from_url(settings.REDIS_URL) as redis:
        redis.set(LAST_SWEEP_KEY, time.time())
