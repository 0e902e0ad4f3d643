"""Typed readers of the environment. A missing or malformed variable stops the start with one line that names it."""

import ipaddress
import os
import re
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from cryptography.fernet import Fernet


class BadEnvironment(SystemExit):
    """A variable is missing or malformed; the message is one line that names it."""


def _fail(name: str, problem: str) -> BadEnvironment:
    return BadEnvironment(f"{name} {problem}")


def text(name: str, default: str | None = None) -> str:
    """The variable's text; `default` where it is unset or empty. Raises BadEnvironment where there is neither."""
    value = os.environ.get(name) or default
    if value is None:
        raise _fail(name, "is not set. `bin/dev` sets it for you; in production set it yourself.")
    return value


def flag(name: str) -> bool:
    """True for 1/true/yes/on, False for 0/false/no/off or unset."""
    value = os.environ.get(name, "").lower()
    if value in ("1", "true", "yes", "on"):
        return True
    if value in ("", "0", "false", "no", "off"):
        return False
    raise _fail(name, f"must be 1 or 0, not {value!r}.")


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list, without blanks."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def choice(name: str, allowed: tuple[str, ...], default: str) -> str:
    """One of `allowed`."""
    value = text(name, default)
    if value not in allowed:
        raise _fail(name, f"must be one of {', '.join(allowed)}, not {value!r}.")
    return value


def url(name: str, schemes: tuple[str, ...], default: str | None = None) -> str:
    """A URL of one of `schemes`, without a trailing slash."""
    value = text(name, default)
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  (raises ValueError when it is no number)
    except ValueError:
        raise _fail(name, "is not a URL.") from None
    if parts.scheme not in schemes:
        raise _fail(name, f"must start with {' or '.join(f'{scheme}://' for scheme in schemes)}.")
    return value.rstrip("/")


def optional_url(name: str, schemes: tuple[str, ...]) -> str | None:
    """As `url`, or None where the variable is unset."""
    return url(name, schemes) if os.environ.get(name) else None


def stack_name(name: str) -> str:
    """A short name that can stand in database names, Redis keys and queues: a-z, 0-9 and underscores."""
    value = text(name, "helpmaton")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", value):
        raise _fail(name, "must be 1 to 31 of a-z, 0-9 and _, beginning with a letter.")
    return value


def fernet_keys(name: str) -> list[str]:
    """Comma-separated Fernet keys, newest first; at least one."""
    keys = words(name, text(name))
    for key in keys:
        try:
            Fernet(key)
        except ValueError:
            raise _fail(name, "holds something that is no Fernet key (32 bytes in URL-safe base64).") from None
    return keys


def seconds(name: str, default: float) -> float:
    """A number of seconds, zero or more."""
    value = text(name, str(default))
    try:
        number = float(value)
    except ValueError:
        raise _fail(name, f"must be a number of seconds, not {value!r}.") from None
    if not 0 <= number < 86_400:
        raise _fail(name, "must be between 0 and 86,400 seconds.")
    return number


def networks(name: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """A comma-separated list of addresses or networks, such as `10.0.0.0/8`."""
    try:
        return [ipaddress.ip_network(word) for word in words(name)]
    except ValueError as problem:
        raise _fail(name, f"must list addresses or networks: {problem}.") from None


def database(name: str, stack: str) -> dict[str, Any]:
    """A PostgreSQL URL as Django's settings; `{stack}` in it stands for `stack`. A `?host=` query names a socket."""
    parts = urlsplit(url(name, ("postgres", "postgresql")).replace("{stack}", stack).replace("%7Bstack%7D", stack))
    query = dict(parse_qsl(parts.query))
    database_name = unquote(parts.path.lstrip("/"))
    if not database_name:
        raise _fail(name, "names no database, such as postgresql://user@host/{stack}.")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database_name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query.pop("host", None) or parts.hostname or "",
        "PORT": str(parts.port or query.pop("port", "")),
        "OPTIONS": query,
    }
