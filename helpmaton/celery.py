"""The Celery application: work that may run later, and the clock that sweeps."""

import os
from typing import Any

from celery import Celery
from celery.signals import worker_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "helpmaton.settings")

app = Celery("helpmaton")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_ready.connect
def sweep_at_start(**_: Any) -> None:
    """Settle what a crash left behind, without waiting for the clock."""
    app.send_task("streams.tasks.sweep")
