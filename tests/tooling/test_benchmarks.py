"""The parts of `python -m benchmarks`, tried in seconds: that they count what is there. No figure is judged here."""

import asyncio
import os
import subprocess
import sys

import pytest

from benchmarks import client, probe, relay
from benchmarks.client import BadAnswer
from benchmarks.report import Figure
from streams.events import TextDelta, Usage
from streams.providers.base import ModelFinished
from tests.upstream.server import scripted_upstream

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
TOKEN = b'data: {"type":"text-delta","textDelta":"tok "}\n\n'
DONE = b'data: {"type":"done","finishReason":"stop"}\n\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def answered(*pieces: bytes) -> client.Client:
    """A client that has read these pieces, one after another."""

    served = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b'"hello"}')
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.002)
        finally:
            writer.close()
            served.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        one = await client.connect(port)
        try:
            await one.ask(client.request(port, "/api/streams/x", "hello"))
        finally:
            one.transport.close()
            await served.wait()
    return one


async def test_every_token_is_counted_once_wherever_the_bytes_are_cut():
    whole = HEAD + chunk(TOKEN) * 3 + chunk(DONE) + b"0\r\n\r\n"
    for size in (7, 13, len(whole)):
        one = await answered(*(whole[start : start + size] for start in range(0, len(whole), size)))
        assert one.tokens == 3, size


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 429 Too Many\r\n\r\n"],
        [HEAD + chunk(TOKEN) + b"0\r\n\r\n"],
        [HEAD + chunk(TOKEN)],
    ],
    ids=["refused", "without an end", "cut"],
)
async def test_an_answer_that_is_not_whole_spoils_the_measurement(pieces):
    with pytest.raises(BadAnswer):
        await answered(*pieces)


async def test_the_relay_reads_the_provider_and_speaks_plain():
    async with scripted_upstream() as upstream:
        provider = relay.OpenAIProvider(base_url=upstream.base_url, api_key="benchmark")
        passing, frames = relay.Relay(), b""
        async for chunks in provider.stream(relay.model_request(b'{"message":"scripted/slow?n=3&rate=0"}')):
            frames += passing.frames(chunks)
        await provider.aclose()
    assert frames.count(b'"text-delta"') == 3
    assert frames.endswith(b"\n\n")
    assert b'"finishReason":"stop"' in frames


def test_the_relay_numbers_its_events_as_the_log_does():
    passing = relay.Relay()
    first = passing.frames([TextDelta("a")])
    last = passing.frames([TextDelta("b"), Usage(1, 2), ModelFinished("stop")])
    assert first.startswith(b"id: 1\n")
    assert b"id: 2\n" in last
    assert b"id: 3\n" in last


def test_djangos_stock_stack_loads_with_its_seven_middleware():
    code = "from benchmarks import stock; from django.conf import settings; print(len(settings.MIDDLEWARE))"
    # Settings are read once in a process, and these are not ours.
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.strip() == "7", ran.stderr


def test_the_probe_sees_this_process():
    before = probe.cpu_s(os.getpid())
    while probe.cpu_s(os.getpid()) == before:
        sum(range(10_000))
    assert probe.rss_kb(os.getpid()) > 1_000
    assert probe.threads(os.getpid()) >= 1


@pytest.mark.parametrize(
    ("ours", "theirs", "aim", "held"),
    [
        (150.0, 100.0, "ratio ≤ 2", True),
        (201.0, 100.0, "ratio ≤ 2", False),
        (299.0, 100.0, "ratio ≥ 3", False),
        (39.0, None, "≤ 40", True),
        (41.0, 10.0, "≤ 40", False),
        (41.0, 10.0, "", None),
    ],
)
def test_a_figure_knows_whether_it_met_its_aim(ours, theirs, aim, held):
    assert Figure("", "", ours, "", theirs, aim).held is held


def test_the_command_explains_itself():
    ran = subprocess.run([sys.executable, "-m", "benchmarks", "--help"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "--quick" in ran.stdout
