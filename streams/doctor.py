"""The checks of `manage.py doctor`: each looks at one real part and says in a sentence what it found."""

import asyncio
import concurrent.futures
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import kombu.exceptions
import redis
from celery import Celery
from channels.layers import get_channel_layer
from cryptography.fernet import Fernet
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from agents import demo, vault
from agents.models import IdempotentReply, User
from billing import ids, prices
from streams import tasks

SWEEP_LATE_S = 60
SKEW_S = 2
TOGETHER_S = 0.05
SECRET_KEY_LENGTH = 50
EMBEDDED_FOLDER = "/.data"


class Finding(NamedTuple):
    """What a check found. Only `fail` makes the doctor's exit code 1."""

    name: str
    status: Literal["ok", "warn", "fail", "not tested"]
    detail: str


class Trouble(Exception):
    """The check failed, for this reason."""


class Doubt(Exception):
    """Nothing is broken, but somebody should know."""


def examine(*, stream_url: str | None, production: bool) -> Iterator[Finding]:
    """Every finding in turn; `stream_url` is a stream to ask through the public address, for a little credit."""
    checks = CHECKS + (PRODUCTION_CHECKS if production else [])
    for name, check in checks:
        yield _finding(name, check)
    if stream_url is None:
        yield Finding("proxy buffering", "not tested", "Name a stream with --stream-url; it is asked one question.")
    else:
        yield _finding("proxy buffering", lambda: _buffering(stream_url))


def _finding(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, "ok", check())
    except Doubt as doubt:
        return Finding(name, "warn", str(doubt))
    except Trouble as trouble:
        return Finding(name, "fail", str(trouble))
    except (DatabaseError, redis.RedisError, kombu.exceptions.KombuError, OSError) as problem:
        return Finding(name, "fail", f"No answer: {type(problem).__name__}: {problem}".strip())


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version'), current_setting('fsync')")
        version, fsync = cursor.fetchone()
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        raise Trouble(
            f"PostgreSQL {version} answers, but {len(missing)} migrations are missing: run manage.py migrate."
        )
    if fsync != "on":
        raise Trouble(f"PostgreSQL {version} runs with fsync {fsync}: a power cut would lose money.")
    return f"PostgreSQL {version}, migrated."


def _clock() -> str:
    before = time.time()
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        [theirs] = cursor.fetchone()
    after = time.time()
    skew = theirs - (before + after) / 2
    if abs(skew) > SKEW_S + (after - before) / 2:
        raise Trouble(f"The database's clock is {skew:+.1f} s off this machine's.")
    return f"The database's clock is within {abs(skew) + (after - before) / 2:.3f} s of this machine's."


def _redis() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5, socket_connect_timeout=5)


def _cache() -> str:
    with _redis() as client:
        server = client.info("server")
        key = f"{settings.REDIS_PREFIX}doctor:{ids.new('req')}"
        script = "local n = redis.call('INCR', KEYS[1]) redis.call('PEXPIRE', KEYS[1], 10000) return n"
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            counted = sorted(threads.map(lambda _: client.eval(script, 1, key), range(100)))
        client.delete(key)
        policy = client.config_get("maxmemory-policy").get("maxmemory-policy", "unknown")
    if counted != list(range(1, 101)):
        raise Trouble("A counter raised 100 times at once did not count to 100: limits would not hold.")
    name = f"{server.get('server_name', 'redis')} {server.get('valkey_version') or server['redis_version']}"
    if policy not in ("noeviction", "unknown"):
        raise Doubt(f"{name} counts atomically, but may evict keys ({policy}): limits would forget; set noeviction.")
    return f"{name}, counts atomically."


def _broker() -> str:
    app = Celery("doctor")
    app.config_from_object("django.conf:settings", namespace="CELERY")
    with app.connection_for_write(connect_timeout=5) as broker:
        broker.ensure_connection(max_retries=1, timeout=5)
        broker.default_channel.client.ping()
    workers = app.control.ping(timeout=1)
    if not workers:
        raise Doubt("The broker answers, but no worker does: nothing that may run later runs.")
    return f"The broker answers, and {len(workers)} worker{'s' if len(workers) > 1 else ''}."


def _channel_layer() -> str:
    async def round_trip() -> None:
        layer = get_channel_layer()
        channel = await layer.new_channel("doctor")
        await layer.send(channel, {"type": "doctor.hello"})
        received = await asyncio.wait_for(layer.receive(channel), 5)
        await layer.close_pools()
        if received != {"type": "doctor.hello"}:
            raise Trouble("The channel layer returned another message than was sent.")

    try:
        asyncio.run(round_trip())
    except TimeoutError:
        raise Trouble("The channel layer lost a message.") from None
    return "A message went round."


def _sweep() -> str:
    with _redis() as client:
        last = client.get(tasks.LAST_SWEEP_KEY)
    if last is None:
        raise Doubt("No sweep of lapsed holds is on record: is a worker with beat running?")
    age_s = time.time() - float(last)
    if age_s > SWEEP_LATE_S:
        raise Trouble(f"The last sweep of lapsed holds, and so beat, was {age_s:.0f} s ago; it is due every 10 s.")
    return f"Beat is alive: lapsed holds were swept {age_s:.0f} s ago."


def _keys() -> str:
    for key in settings.FIELD_ENCRYPTION_KEYS:
        if Fernet(key).decrypt(Fernet(key).encrypt(b"doctor")) != b"doctor":
            raise Trouble("A key in FIELD_ENCRYPTION_KEYS does not open what it sealed.")
    sealed = vault.Sealed(settings.FIELD_ENCRYPTION_KEYS)
    bodies = IdempotentReply.objects.filter(sealed_body__isnull=False).order_by("-id")
    for body in bodies.values_list("sealed_body", flat=True)[:20]:
        try:
            sealed.open(body)
        except ValueError:
            raise Trouble(
                "FIELD_ENCRYPTION_KEYS lacks the key of values in the database: put the old one back."
            ) from None
    if len(settings.SECRET_KEY) < SECRET_KEY_LENGTH:
        raise Doubt(f"SECRET_KEY has {len(settings.SECRET_KEY)} characters; {SECRET_KEY_LENGTH} or more are advised.")
    return f"SECRET_KEY is long enough; {len(settings.FIELD_ENCRYPTION_KEYS)} field key(s) open what is stored."


def _default_model() -> str:
    if prices.current(settings.DEFAULT_MODEL, timezone.now()) is None:
        raise Trouble(f"DEFAULT_MODEL {settings.DEFAULT_MODEL} has no price, so it is refused: manage.py set_price.")
    return f"{settings.DEFAULT_MODEL} has a price."


def _buffering(stream_url: str) -> str:
    request = urllib.request.Request(  # noqa: S310  the operator names the address
        stream_url, b"Count to twenty, please.", {"Content-Type": "text/plain", "X-Stream-Dialect": "plain"}
    )
    began = time.monotonic()
    arrivals = []
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            while data := response.read1(65536):
                arrivals += [time.monotonic() - began] * data.count(b'"text-delta"')
    except urllib.error.HTTPError as refusal:
        raise Trouble(f"The stream answered {refusal.code}.") from None
    if len(arrivals) < 5:
        raise Doubt(f"Only {len(arrivals)} pieces of text arrived: too few to tell.")
    spread = arrivals[-1] - arrivals[0]
    if spread < TOGETHER_S:
        raise Trouble(f"{len(arrivals)} pieces of text arrived together after {arrivals[0]:.1f} s: a proxy buffers.")
    return f"{len(arrivals)} pieces of text over {spread:.1f} s, the first after {arrivals[0]:.2f} s: nothing buffers."


def _no_debug() -> str:
    if settings.DEBUG:
        raise Trouble("DEBUG is on: error pages show settings and code.")
    return "DEBUG is off."


def _no_demo() -> str:
    if settings.DEMO:
        raise Trouble("HELPMATON_DEMO is on.")
    if User.objects.filter(email=demo.EMAIL, is_active=True).exists():
        raise Trouble(f"The demo's user {demo.EMAIL} is there and active: deactivate it.")
    return "No demo."


def _https() -> str:
    if not settings.PUBLIC_URL.startswith("https://") or not settings.STREAM_URL.startswith("https://"):
        raise Trouble("PUBLIC_URL and STREAM_URL must be https: secrets and cookies travel in the open.")
    if "*" in settings.ALLOWED_HOSTS:
        raise Trouble("ALLOWED_HOSTS lets every host name in.")
    return "Public addresses are https."


def _no_embedded_servers() -> str:
    if EMBEDDED_FOLDER in settings.DATABASES["default"]["HOST"] or EMBEDDED_FOLDER in settings.REDIS_URL:
        raise Trouble("DATABASE_URL or REDIS_URL names an embedded server of bin/dev.")
    with connection.cursor() as cursor:
        cursor.execute("SELECT setting FROM pg_settings WHERE name = 'data_directory'")  # only shown to superusers
        row = cursor.fetchone()
    if row and EMBEDDED_FOLDER in row[0]:
        raise Trouble("DATABASE_URL names an embedded server of bin/dev.")
    with _redis() as client:
        folder = client.config_get("dir").get("dir", "")
    if EMBEDDED_FOLDER in folder:
        raise Trouble("REDIS_URL names an embedded server of bin/dev.")
    return "PostgreSQL and Redis are servers of their own."


CHECKS: list[tuple[str, Callable[[], str]]] = [
    ("database", _database),
    ("clock", _clock),
    ("cache", _cache),
    ("broker", _broker),
    ("channel layer", _channel_layer),
    ("sweep and beat", _sweep),
    ("keys", _keys),
    ("default model", _default_model),
]
PRODUCTION_CHECKS: list[tuple[str, Callable[[], str]]] = [
    ("debug", _no_debug),
    ("demo", _no_demo),
    ("https", _https),
    ("embedded servers", _no_embedded_servers),
]
