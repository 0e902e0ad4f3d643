"""What the servers write: one JSON object a line, with request and workspace id, and no secret in it.

Redaction works on the finished line of every handler, so that it holds for whatever a server or library logs: a
secret of ours is recognised by its form (`agents.vault`) and cut after its public part.
"""

import json
import re
import sys
from typing import Any

import msgspec
import structlog

# Any character of a path may come percent-encoded, and the secret still opens its agent.
_SECRET = re.compile(r"((?:h|%68)(?:m|%6[Dd])(?:[sk]|%73|%6[Bb])(?:_|%5[Ff])[0-9A-Za-z]{0,12})[0-9A-Za-z%]*")
# A one-time sign-in token: base64 of a list that begins with a user's id, then a time and a signature.
_SIGN_IN = re.compile(r"WyJ1c3Jf[0-9A-Za-z_:=%.-]*")
_SERVERS = (
    "uvicorn",
    "uvicorn.access",
    "uvicorn.error",
    "uvicorn.asgi",
    "daphne",
    "daphne.access",
    "granian",
    "_granian",
)


def redact(line: str) -> str:
    """The line with every secret of ours cut down to its public part, and one-time sign-in links cut off."""
    return _SIGN_IN.sub("…", _SECRET.sub(r"\1…", line))


def redact_event(event: Any, hint: Any) -> Any:
    """As `redact`, for an event that goes to Sentry."""
    return json.loads(redact(json.dumps(event, default=str)))


def _render(logger: object, name: str, event: structlog.typing.EventDict) -> str:
    try:
        line = msgspec.json.encode(event, enc_hook=str).decode()
    except (TypeError, ValueError):  # lone surrogates, keys that are no text: rare enough to be slow
        line = json.dumps(event, default=str, skipkeys=True)
    return redact(line)


def configuration(level: str) -> dict[str, object]:
    """Settings for `logging.config.dictConfig`; also makes `structlog` loggers end in the same handler."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render],
                "foreign_pre_chain": shared,
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": level},
        # The servers bring handlers of their own; ours take their place, whatever level the server was told.
        "loggers": {name: {"handlers": [], "propagate": True} for name in _SERVERS},
    }


def redact_daphne() -> None:
    """daphne writes its access log to a stream of its own, from the request line as it came: redact that too."""
    access = sys.modules.get("daphne.access")
    if access is None:
        return
    write_entry = access.AccessLogGenerator.write_entry

    def write_redacted(self: object, host: str, date: object, request: str, *args: object, **kwargs: object) -> None:
        write_entry(self, host, date, redact(request), *args, **kwargs)

    access.AccessLogGenerator.write_entry = write_redacted
