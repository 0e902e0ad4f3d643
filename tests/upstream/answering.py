"""Follows a script on a connection: what goes out, when, and how it ends."""

import asyncio
import base64
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from tests.upstream import script as scripts
from tests.upstream.journal import Exchange
from tests.upstream.script import Answer, Script

if TYPE_CHECKING:
    from tests.upstream.server import Connection

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}
STREAM_HEADERS = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}
WORDS_PER_WRITE = 64
_encode = msgspec.json.encode


def error_body(message: str, code: str) -> bytes:
    """An error object as OpenAI words it."""
    return _encode({"error": {"message": message, "type": code, "param": None, "code": code}})


def head(status: int, headers: dict[str, str]) -> bytes:
    """The status line and headers of a response."""
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}", *(f"{name}: {headers[name]}" for name in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def framed(data: bytes) -> bytes:
    """One chunk of chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


async def follow(connection: "Connection", exchange: Exchange) -> None:
    """Answers one request as its script says."""
    body = exchange.body
    messages = [message for message in _list(body.get("messages")) if isinstance(message, dict)]
    said = [_text(message.get("content")) for message in messages if message.get("role") == "user"]
    try:
        script = scripts.choose(str(body.get("model", "")), said[-1] if said else "")
    except ValueError as error:
        connection.respond(404, error_body(str(error), "model_not_found"))
        connection.complete()
        return
    exchange.script = script.directive or script.name
    if "times" in script.options and connection.journal.count(script.directive) >= script.count("times", 0):
        script = Script("echo", {}, script.text)
    await asyncio.sleep(script.number("delay", 0))
    if script.name == "silent-before":
        return
    if script.name == "error-before" or (script.name == "max-tokens-renamed" and "max_tokens" in body):
        _refuse(connection, exchange, script)
        return
    bound = body.get("max_completion_tokens", body.get("max_tokens"))
    prompt = "\n".join(_text(message.get("content")) for message in messages)
    answer = scripts.answer(script, prompt, bound if isinstance(bound, int) else None)
    if script.name == "raw":
        await _raw(connection, exchange, script)
    elif body.get("stream"):
        await _Stream(connection, exchange, script, answer).run()
    else:
        _whole(connection, exchange, answer)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _text(content: object) -> str:
    """The text of a message's content, plain or in parts."""
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text", "")) for part in _list(content) if isinstance(part, dict))


def _refuse(connection: "Connection", exchange: Exchange, script: Script) -> None:
    if script.name == "max-tokens-renamed":
        text = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
        connection.respond(400, error_body(text, "unsupported_parameter"))
        connection.complete()
        return
    status = script.count("status", 500)
    if status == 0:
        connection.reset()
        return
    text = "The scripted server fails as it was told."
    if script.flag("leak"):
        text += " Your key: " + exchange.headers.get("authorization", "")
    names = ("retry-after", "retry-after-ms", "location", "content-type")
    headers = {name: script.options[name] for name in names if name in script.options}
    connection.respond(status, error_body(text, script.options.get("code", "scripted")), headers)
    connection.complete()


async def _raw(connection: "Connection", exchange: Exchange, script: Script) -> None:
    data = base64.urlsafe_b64decode(script.options["body"])
    split = script.count("split", len(data)) or 1
    content_type = script.options.get("type", STREAM_HEADERS["content-type"])
    exchange.status = 200
    connection.write(head(200, {**STREAM_HEADERS, "content-type": content_type}))
    for start in range(0, len(data), split):
        connection.write(framed(data[start : start + split]))
        await connection.drained()
        await asyncio.sleep(0)
    if script.flag("abort"):
        await asyncio.sleep(0.05)  # the bytes must have left before the reset throws them away
        connection.reset()
    else:
        connection.write(b"0\r\n\r\n")
        connection.complete()


def _whole(connection: "Connection", exchange: Exchange, answer: Answer) -> None:
    exchange.tokens_sent = len(answer.words)
    message = {"role": "assistant", "content": "".join(answer.words)}
    choice = {"index": 0, "message": message, "finish_reason": answer.finish_reason}
    reply = {
        "id": f"chatcmpl-{exchange.number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": exchange.body.get("model"),
        "choices": [choice],
        "usage": answer.usage,
    }
    connection.respond(200, _encode(reply))
    connection.complete()


class _Stream:
    """A streamed answer."""

    def __init__(self, connection: "Connection", exchange: Exchange, script: Script, answer: Answer) -> None:
        self.connection = connection
        self.exchange = exchange
        self.script = script
        self.answer = answer
        options = exchange.body.get("stream_options")
        self.usage_wanted = isinstance(options, dict) and bool(options.get("include_usage"))
        self.head = (
            b'data: {"id":"chatcmpl-%d","object":"chat.completion.chunk","created":%d,"model":%b,"choices":['
            % (
                exchange.number,
                int(time.time()),
                _encode(exchange.body.get("model")),
            )
        )
        self.tail = b'],"usage":null}\n\n' if self.usage_wanted else b"]}\n\n"

    async def run(self) -> None:
        """The whole answer, up to the fault its script asks for."""
        self.exchange.status = 200
        self.connection.write(head(200, STREAM_HEADERS) + self._event(b'{"role":"assistant","content":""}'))
        field = self.script.options.get("field", "reasoning_content").encode()
        thoughts, words = self.answer.thoughts, self.answer.words
        fault = self.script.name if self.script.name in ("error-mid", "cut", "end", "silent") else None
        if fault is not None:
            words = words[: self.script.count("after", 5)]
        await self._speak(field, thoughts)
        await self._speak(b"content", words)
        if fault is None:
            await self._finish()
        elif fault == "error-mid":
            self.connection.write(framed(b"data: " + error_body("The model broke down.", "server_error") + b"\n\n"))
            self._end()
        elif fault == "cut":
            await asyncio.sleep(0.05)  # the words must have left before the reset throws them away
            self.connection.reset()
        elif fault == "end":
            self._end()

    async def _speak(self, field: bytes, words: Sequence[str]) -> None:
        """Sends the words at the script's rate, or as fast as the socket takes them."""
        rate = self.script.number("rate", 20 if self.script.name == "slow" else 0)
        stamp = self.script.flag("stamp")
        started = time.monotonic()
        sent = 0
        while sent < len(words):
            if rate:
                due = int((time.monotonic() - started) * rate) + 1
                if due <= sent:
                    await asyncio.sleep(max(0.0, started + sent / rate - time.monotonic()))
                    continue
            else:
                due = sent + WORDS_PER_WRITE
            batch = words[sent:due]
            self.connection.write(b"".join(self._word(field, word, stamp) for word in batch))
            sent += len(batch)
            self._note(len(batch))
            await self.connection.drained()
            if not rate:
                await asyncio.sleep(0)

    def _word(self, field: bytes, word: str, stamp: bool) -> bytes:
        text = f"{time.monotonic_ns()} " if stamp else word
        return self._event(b'{"%b":%b}' % (field, _encode(text)))

    def _note(self, words: int) -> None:
        now = time.monotonic()
        if self.exchange.first_token_at is None:
            self.exchange.first_token_at = now
        self.exchange.last_token_at = now
        self.exchange.tokens_sent += words

    def _event(self, delta: bytes, finish_reason: bytes = b"null") -> bytes:
        choice = b'{"index":0,"delta":%b,"finish_reason":%b}' % (delta, finish_reason)
        return framed(self.head + choice + self.tail)

    async def _finish(self) -> None:
        out = [self._event(b"{}", _encode(self.answer.finish_reason))]
        if self.usage_wanted and self.answer.usage is not None:
            out.append(framed(self.head + b'],"usage":' + _encode(self.answer.usage) + b"}\n\n"))
        out.append(framed(b"data: [DONE]\n\n"))
        self.connection.write(b"".join(out))
        if tail := self.script.number("tail", 0):
            await asyncio.sleep(tail)
        self._end()

    def _end(self) -> None:
        self.connection.write(b"0\r\n\r\n")
        self.connection.complete()
