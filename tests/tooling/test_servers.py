import os

import django.db
import pytest
import redis


@pytest.mark.django_db
def test_here():
    with django.db.connection.cursor() as c:
        c.execute("select current_database()")
        assert c.fetchone()[0].startswith("test_run")
    assert redis.Redis.from_url(os.environ["REDIS_URL"]).ping()
