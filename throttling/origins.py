"""Which origins a browser may call from, and what the answer says of it. Pure."""

from urllib.parse import urlsplit

METHODS = "GET, POST, OPTIONS"
REQUEST_HEADERS = (
    "Authorization, Content-Type, Last-Event-ID, X-Conversation-Id, X-CSRFToken, X-Request-Id, X-Stream-Dialect"
)
RESPONSE_HEADERS = (
    "Retry-After, X-Conversation-Id, X-Request-Id, X-Stream-Dialect, x-vercel-ai-ui-message-stream, "
    "x-vercel-ai-data-stream"
)


def allowed(origin: str, listed: tuple[str, ...]) -> bool:
    """Whether `origin` is on the list: exactly, by `https://*.example.com` (any depth below it), or by `*`."""
    if "*" in listed or origin in listed:
        return True
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    for pattern in listed:
        scheme, _, rest = pattern.partition("://*.")
        if not rest or scheme != parts.scheme:
            continue
        name, _, wanted_port = rest.partition(":")
        if host.endswith(f".{name}") and wanted_port == ("" if port is None else str(port)):
            return True
    return False


def answer(origin: str | None) -> list[tuple[bytes, bytes]]:
    """Headers of an answer that this origin may read; never with credentials."""
    headers = [(b"vary", b"Origin")]
    if origin is not None:
        headers += [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", RESPONSE_HEADERS.encode()),
        ]
    return headers


def preflight(origin: str | None) -> list[tuple[bytes, bytes]]:
    """Headers of the answer to `OPTIONS`. It promises nothing: the request itself is checked against the list."""
    if origin is None:
        return answer(None)
    return [
        *answer(origin),
        (b"access-control-allow-methods", METHODS.encode()),
        (b"access-control-allow-headers", REQUEST_HEADERS.encode()),
        (b"access-control-max-age", b"600"),
    ]
