"""What a token costs to read from a provider: the OpenAI SDK's transport against a plain aiohttp request.

    python -m benchmarks.upstream_clients

Both ways read the same scripted server (a process of its own) on uvloop and hand the same bytes to the same SSE reader
and decoder, so that they differ in the client alone. Rounds alternate; figures are medians. Prints CPU microseconds
per token at 50 streams x 20 tokens/s and when flooded, and CPU milliseconds per request opened on a warm connection.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import aiohttp
import openai
import uvloop

from streams.messages import ChatMessage, TextPart
from streams.providers.base import Chunk, ModelRequest
from streams.providers.chat_completions import MAX_TOKENS, AnswerReader, request_body
from streams.providers.sse_reader import SseReader

Client = Callable[[str], AsyncGenerator[bytes, None]]
"""Opens one answer of a model and yields its bytes as they are read."""


def plain_client(session: aiohttp.ClientSession, base_url: str) -> Client:
    """One aiohttp session, one POST per answer."""

    async def read(model: str) -> AsyncGenerator[bytes, None]:
        data = request_body(_request(model), MAX_TOKENS)
        headers = {"Content-Type": "application/json", "Authorization": "Bearer benchmark"}
        async with session.post(f"{base_url}/chat/completions", data=data, headers=headers) as response:
            while data := await response.content.readany():
                yield data

    return read


def sdk_client(client: openai.AsyncOpenAI, decoded: bool) -> Client:
    """The SDK's `with_streaming_response`; `decoded` reads through its content decoder instead of beneath it."""

    async def read(model: str) -> AsyncGenerator[bytes, None]:
        async with client.chat.completions.with_streaming_response.create(
            model=model,
            messages=[{"role": "user", "content": "Go."}],
            max_tokens=10_000_000,
            stream=True,
            stream_options={"include_usage": True},
        ) as response:
            pieces = response.iter_bytes() if decoded else response.http_response.aiter_raw()
            async for data in pieces:
                yield data

    return read


def _request(model: str) -> ModelRequest:
    return ModelRequest(model, (ChatMessage("user", (TextPart("Go."),)),), max_output_tokens=10_000_000)


async def _answer(client: Client, model: str, begun: asyncio.Semaphore) -> int:
    """Reads one answer whole; the number of text chunks in it."""
    reader, answer, tokens = SseReader(), AnswerReader(), 0
    async with aclosing(client(model)) as pieces:
        async for data in pieces:
            chunks: list[Chunk] = []
            for event in reader.feed(data):
                answer.read(event, chunks)
            if chunks and not tokens:
                begun.release()
            tokens += len(chunks)
    if not answer.done:
        raise RuntimeError(f"{model} ended early")
    return tokens


async def cpu_per_token(client: Client, streams: int, model: str) -> float:
    """CPU microseconds per token, counted from the moment that every stream has begun."""
    begun = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(_answer(client, model, begun)) for _ in range(streams)]
    for _ in range(streams):
        await begun.acquire()
    started = time.process_time()
    tokens = sum(await asyncio.gather(*tasks))
    return (time.process_time() - started) / tokens * 1e6


async def cpu_per_open(client: Client, opens: int) -> float:
    """CPU milliseconds per short answer, one after another."""
    started = time.process_time()
    for _ in range(opens):
        await _answer(client, "scripted/slow?n=1&rate=0", asyncio.Semaphore(0))
    return (time.process_time() - started) / opens * 1e3


async def measure(base_url: str, rounds: int, seconds: int) -> None:
    """Runs the rounds and prints the table."""
    connector = aiohttp.TCPConnector(limit=0)
    sdk = openai.AsyncOpenAI(base_url=base_url, api_key="benchmark", http_client=openai.DefaultAioHttpClient())
    async with aiohttp.ClientSession(connector=connector) as session, sdk:
        clients = {
            "plain aiohttp": plain_client(session, base_url),
            "SDK, aiohttp transport, aiter_raw": sdk_client(sdk, decoded=False),
            "SDK, aiohttp transport, iter_bytes": sdk_client(sdk, decoded=True),
        }
        figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in clients}
        for client in clients.values():
            await cpu_per_open(client, 20)
        for number in range(rounds):
            order = list(clients) if number % 2 == 0 else list(clients)[::-1]
            for name in order:
                client = clients[name]
                paced = await cpu_per_token(client, 50, f"scripted/slow?n={20 * seconds}&rate=20")
                flood = await cpu_per_token(client, 4, "scripted/flood?n=50000")
                figures[name].append((paced, flood, await cpu_per_open(client, 100)))
    medians = {name: [statistics.median(column) for column in zip(*figures[name], strict=True)] for name in figures}
    floor = medians["plain aiohttp"]
    print(f"{rounds} alternated rounds, medians (x plain aiohttp)")
    print(f"{'client':36} {'us/token, paced':>18} {'us/token, flood':>18} {'ms/open':>14}")
    for name, row in medians.items():
        cells = [f"{value:8.2f} ({value / least:4.2f} x)" for value, least in zip(row, floor, strict=True)]
        print(f"{name:36} {cells[0]:>18} {cells[1]:>18} {cells[2]:>14}")


def main() -> None:
    """Starts the server, measures, stops the server."""
    parser = argparse.ArgumentParser(description="CPU per token of two ways to read a provider's stream.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="length of one paced stream")
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "tests.upstream.server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            base_url = server.stdout.readline().strip()
            uvloop.run(measure(base_url, arguments.rounds, arguments.seconds))
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
