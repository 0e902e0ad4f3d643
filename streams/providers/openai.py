"""Answers from any server that speaks OpenAI's chat completions.

One aiohttp request per answer, its bytes decoded by `chat_completions`; why not the SDK: docs/decisions/0004.
The key never leaves the session's headers: what a provider says is scrubbed of it before anybody can log it.
"""

import asyncio
import io
import random
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from email.utils import parsedate_to_datetime
from typing import Literal
from urllib.parse import urlsplit

import aiohttp
import msgspec

from streams.events import Notice
from streams.providers.base import Chunk, ModelRequest, Provider, ProviderError
from streams.providers.chat_completions import (
    MAX_COMPLETION_TOKENS,
    MAX_TOKENS,
    AnswerReader,
    StreamFault,
    request_body,
)
from streams.providers.sse_reader import EventTooLarge, SseReader

RETRYABLE_STATUSES = frozenset({408, 409, 429})
"""And every 5xx. 409 is a lock that OpenAI gives up by itself."""

MAX_ERROR_BYTES = 64 * 1024
MAX_INTERNAL_LENGTH = 500
ONE_WRITE_BYTES = 256 * 1024
"""A longer request is sent in pieces, so that it does not hold up everybody else's streams."""

SETTLING_TIME_S = 0.2
"""How long a connection gets to end its body after `[DONE]`, before it is closed instead of used again."""

RETRY_NOTICE = Notice("provider_retry", "The model's provider did not answer; asking again.")


class Timeouts(msgspec.Struct, frozen=True):
    """In seconds: `connect` to the open connection, `idle` between two reads (and before the first), `total` for an
    answer with all its attempts: beyond the longest stream of any plan, whose end has a name of its own."""

    connect_s: float = 10.0
    idle_s: float = 60.0
    total_s: float = 3900.0


DEFAULT_TIMEOUTS = Timeouts()


class _Failure(Exception):
    """An attempt failed: with what, and whether another is worth it, no sooner than the provider asks."""

    def __init__(self, code: str, internal: str, *, again: bool, retry_after_s: float | None = None) -> None:
        super().__init__(internal)
        self.code = code
        self.internal = internal
        self.again = again
        self.retry_after_s = retry_after_s


class _Renamed(Exception):
    """The server wants the output bound under its other name."""


class OpenAIProvider(Provider):
    """A `Provider` for one base URL and key, such as `https://api.openai.com/v1`.

    An instance belongs to one event loop and keeps its connections open for reuse until `aclose`. An attempt that
    fails before anything was said is repeated, at most `max_attempts` in all, after `retry_delay_s` doubling each time
    (with jitter) or what the provider's Retry-After says; one longer than `longest_retry_after_s` is not waited for.
    Raises ValueError for a base URL or key that no request could carry; neither is part of the error.
    """

    name = "openai"
    simulated = False

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        on_abort: Literal["cancel", "drain"] = "cancel",
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        max_attempts: int = 3,
        retry_delay_s: float = 0.5,
        longest_retry_after_s: float = 10.0,
    ) -> None:
        host = _checked_host(base_url)
        if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
            raise ValueError("the provider's API key holds characters that a header cannot carry")
        if max_attempts < 1:
            raise ValueError("max_attempts must be at least 1")
        self.on_abort: Literal["cancel", "drain"] = on_abort
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._api_key = api_key
        self._timeouts = timeouts
        self._max_attempts = max_attempts
        self._retry_delay_s = retry_delay_s
        self._longest_retry_after_s = longest_retry_after_s
        self._speaks_new_name = host == "api.openai.com" or host.endswith(".api.openai.com")
        self._renamed_models: set[str] = set()
        self._session: aiohttp.ClientSession | None = None

    async def stream(self, request: ModelRequest) -> AsyncGenerator[list[Chunk], None]:
        """The answer; see `Provider`. The last list ends with the usage, if reported, and `ModelFinished`. A list with
        a `provider_retry` notice comes before each new attempt. Raises `ProviderError`."""
        deadline = asyncio.get_running_loop().time() + self._timeouts.total_s
        attempt = 0
        while True:
            attempt += 1
            try:
                async with aclosing(self._attempt(request, deadline)) as reads:
                    async for chunks in reads:
                        yield chunks
                return
            except _Renamed:
                self._renamed_models.add(request.model)
                attempt -= 1
                continue
            except _Failure as failure:
                pause_s = self._pause_s(failure, attempt, deadline)
                if pause_s is None:
                    raise ProviderError(failure.code, self._for_log(failure.internal)) from None
            yield [RETRY_NOTICE]
            await asyncio.sleep(pause_s)

    async def aclose(self) -> None:
        """Closes every connection."""
        if self._session is not None:
            await self._session.close()

    def output_bound(self, model: str) -> str:
        """The field that bounds a model's output here: OpenAI's own reasoning models refuse the old name, while many
        other servers ignore the new one, and an ignored bound is money. Never both: some refuse that."""
        new = self._speaks_new_name or model in self._renamed_models
        return MAX_COMPLETION_TOKENS if new else MAX_TOKENS

    async def _attempt(self, request: ModelRequest, deadline: float) -> AsyncGenerator[list[Chunk], None]:
        """One request. Raises `_Failure` or `_Renamed`."""
        answer = AnswerReader()
        response: aiohttp.ClientResponse | None = None
        try:
            response = await self._post(request, deadline)
            async with aclosing(_read(response, answer)) as reads:
                async for chunks in reads:
                    yield chunks
        except StreamFault as fault:
            raise _Failure("provider_error", str(fault), again=not answer.spoken) from None
        except EventTooLarge as fault:
            raise _Failure("provider_error", str(fault), again=False) from None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            if not answer.whole:
                raise _connection_failure(error, again=not answer.spoken) from None
            # The model had ended its answer; what got lost after it is at most the usage.
            yield answer.end()
        finally:
            if response is not None:
                response.close()

    async def _post(self, request: ModelRequest, deadline: float) -> aiohttp.ClientResponse:
        """Sends the request; the response once its headers are there, if it is a stream."""
        bound = self.output_bound(request.model)
        remaining_s = deadline - asyncio.get_running_loop().time()
        if remaining_s <= 0:
            raise TimeoutError("no time is left for another attempt")
        body = request_body(request, bound)
        response = await self._open_session().post(
            self._url,
            data=body if len(body) <= ONE_WRITE_BYTES else io.BytesIO(body),
            allow_redirects=False,  # a redirect would carry the prompt to a host nobody configured
            timeout=aiohttp.ClientTimeout(
                total=remaining_s, connect=self._timeouts.connect_s, sock_read=self._timeouts.idle_s
            ),
        )
        try:
            if response.status != 200 or response.content_type in ("application/json", "text/html"):
                await self._refuse(response, bound)
        except BaseException:
            response.close()
            raise
        return response

    async def _refuse(self, response: aiohttp.ClientResponse, bound: str) -> None:
        """Raises what a response that is no stream means."""
        body = bytearray()
        while len(body) < MAX_ERROR_BYTES and (piece := await response.content.readany()):
            body += piece
        if response.status == 400 and bound == MAX_TOKENS and MAX_COMPLETION_TOKENS.encode() in body:
            raise _Renamed
        again = response.status in RETRYABLE_STATUSES or response.status >= 500
        if b"insufficient_quota" in body:
            again = False  # a 429 of OpenAI's that only a payment ends
        internal = f"HTTP {response.status} {response.content_type}: {body.decode('utf-8', 'replace')}"
        raise _Failure("provider_error", internal, again=again, retry_after_s=_retry_after_s(response))

    def _pause_s(self, failure: _Failure, attempt: int, deadline: float) -> float | None:
        """How long to wait before the next attempt; None if there is none."""
        if not failure.again or attempt >= self._max_attempts:
            return None
        pause_s = self._retry_delay_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        if failure.retry_after_s is not None:
            if failure.retry_after_s > self._longest_retry_after_s:
                return None
            pause_s = max(pause_s, failure.retry_after_s)
        return pause_s if asyncio.get_running_loop().time() + pause_s < deadline else None

    def _for_log(self, internal: str) -> str:
        """The beginning of the provider's words without our key, which careless servers repeat. Cut after scrubbing:
        half a key at the cut would pass the other way round."""
        scrubbed = internal.replace(self._api_key, "[key]") if self._api_key else internal
        return scrubbed[:MAX_INTERNAL_LENGTH]

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            headers = {
                "Accept": "text/event-stream",
                "Accept-Encoding": "identity",  # a compressed stream waits for its blocks to fill
                "Content-Type": "application/json",
                "User-Agent": "helpmaton",
            }
            if self._api_key:
                headers["Authorization"] = f"Bearer {self._api_key}"
            # The plans bound the streams; a bound of connections here would be a hidden queue.
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector, headers=headers, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session


async def _read(response: aiohttp.ClientResponse, answer: AnswerReader) -> AsyncGenerator[list[Chunk], None]:
    """The chunks of each read of the body. Raises `StreamFault` after the chunks that came before the fault."""
    reader = SseReader()
    while True:
        received = await response.content.readany()
        chunks: list[Chunk] = []
        try:
            for data in reader.feed(received) if received else reader.finish():
                answer.read(data, chunks)
            if not received and not answer.whole:
                raise StreamFault("the connection ended before the answer")
        except (StreamFault, EventTooLarge):
            if chunks:
                yield chunks
            raise
        if answer.done or not received:
            break
        if chunks:
            yield chunks
    yield [*chunks, *answer.end()]
    await _settle(response)


async def _settle(response: aiohttp.ClientResponse) -> None:
    """Reads the end of the body that follows `[DONE]`, usually there already: only then is the connection reused."""
    try:
        async with asyncio.timeout(SETTLING_TIME_S):
            while not response.content.at_eof():
                await response.content.readany()
    except (TimeoutError, aiohttp.ClientError, OSError):
        response.close()


def _connection_failure(error: Exception, *, again: bool) -> _Failure:
    """What a failing connection means: silence is not asked again, since the client has waited for it already."""
    internal = f"{type(error).__name__}: {error}"
    if isinstance(error, TimeoutError):
        connecting = isinstance(error, aiohttp.ConnectionTimeoutError)
        return _Failure("provider_timeout", internal, again=again and connecting)
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.InvalidURL):
        again = False
    return _Failure("provider_error", internal, again=again)


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    """Seconds that the provider asks to wait, given as milliseconds, seconds or a date; None if it asks for none."""
    for header, scale in (("Retry-After-Ms", 0.001), ("Retry-After", 1.0)):
        value = response.headers.get(header, "").strip()
        if value.isascii() and value.replace(".", "", 1).isdigit():
            return float(value) * scale
    try:
        return max(0.0, parsedate_to_datetime(response.headers["Retry-After"]).timestamp() - time.time())
    except (KeyError, ValueError):
        return None


def _checked_host(base_url: str) -> str:
    """The host of a base URL. Raises ValueError, without the URL, if it is none."""
    try:
        parts = urlsplit(base_url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
        parts.port  # noqa: B018 - raises for a port that is no number
    except ValueError:
        sound = False
    if not sound or parts.username is not None:
        raise ValueError("the provider's base URL must be http(s)://host[:port][/path] without user, query or fragment")
    return (parts.hostname or "").lower()
