"""What Celery runs for this app."""

from celery import shared_task

from agents import idempotency


@shared_task
def forget_idempotency_keys(**_ignored: object) -> None:
    """Remove idempotent replies that are older than a day. Later versions may pass arguments: they are ignored."""
    idempotency.forget_old()
