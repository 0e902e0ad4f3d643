"""Where a stack keeps its things, and the environment its processes are started with."""

import json
import os
import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from helpmaton.stack.failure import Failure

ROOT = Path(__file__).resolve().parent.parent.parent
_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")


@dataclass(frozen=True)
class Stack:
    """One installation on this machine: its name, its folder under `.data`, and the address it answers at."""

    name: str
    folder: Path
    host: str
    port: int

    @property
    def address(self) -> str:
        """The base URL a browser on this machine reaches it at."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104  (read, not listened on)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def logs(self) -> Path:
        """The folder of its processes' logs."""
        return self.folder / "logs"


def name(*, check: bool) -> str:
    """STACK_NAME, or `dev`; for a check one of its own, so that it meets no stack that runs. Raises Failure."""
    chosen = os.environ.get("STACK_NAME") or "dev"
    if not _NAME.fullmatch(chosen):
        raise Failure("STACK_NAME must be 1 to 31 of a-z, 0-9 and _, beginning with a letter.")
    return f"check_{chosen}"[:31] if check else chosen


def environment(stack: Stack, database_url: str, redis_url: str) -> dict[str, str]:
    """What the processes of a stack are started with: production's limits, a demo's conveniences."""
    return {
        "DEBUG": "0",
        "PUBLIC_URL": stack.address,
        **_keys(stack.folder / "keys.json"),
        **os.environ,
        "DATABASE_URL": database_url,
        "DJANGO_SETTINGS_MODULE": "helpmaton.settings",
        "HELPMATON_DEMO": "1",
        "PYTHONUNBUFFERED": "1",
        "REDIS_URL": redis_url,
        "STACK_NAME": stack.name,
    }


def database_of(url: str, stack: str, *, check: bool) -> str:
    """`url` with `{stack}` filled in; a check of a URL that names a fixed database gets a neighbour of it."""
    filled = url.replace("{stack}", stack).replace("%7Bstack%7D", stack)
    if not check or filled != url:
        return filled
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}_check"))


def create_database(url: str) -> None:
    """Creates the database that `url` names, unless it is there. Raises Failure where the server cannot be reached."""
    parts = urlsplit(url)
    wanted = parts.path.lstrip("/")
    try:
        beside = urlunsplit(parts._replace(path="/postgres"))
        with psycopg.connect(beside, autocommit=True, connect_timeout=10) as server:
            if not server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [wanted]).fetchone():
                server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(wanted)))
    except psycopg.errors.DuplicateDatabase:
        return
    except psycopg.Error as problem:
        # Whoever may not enter `postgres` may still own the database that is meant.
        if not _answers(url):
            raise Failure(f"DATABASE_URL: {str(problem).strip()}") from None


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=10).close()
    except psycopg.OperationalError:
        return False
    return True


def _keys(path: Path) -> dict[str, str]:
    """The stack's own secrets, made once."""
    if not path.exists():
        made = {
            "SECRET_KEY": secrets.token_urlsafe(48),
            "FIELD_ENCRYPTION_KEYS": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        }
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(made))
        fresh.rename(path)
    keys: dict[str, str] = json.loads(path.read_text())
    return keys
