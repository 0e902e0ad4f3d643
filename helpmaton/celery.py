"""The Celery application: work that may run later, and the clock that sweeps."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "helpmaton.settings")

app = Celery("helpmaton")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
