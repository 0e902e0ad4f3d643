"""What bad input gets, in the order of refusals, and that none of it leaves anything behind."""

import asyncio
import socket
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from agents import vault
from billing import ids
from tests.journeys.books import Books
from tests.journeys.conftest import Start, database_url
from tests.journeys.server import Server
from tests.journeys.talk import Client, Reply
from tests.journeys.world import World
from tests.upstream.server import Upstream

MIB = 1024 * 1024
ORIGIN = "https://shop.example.com"
PAST = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
async def nothing_is_left(world: World, books: Books, upstream: Upstream) -> Any:
    """No refusal reserves, asks the provider or writes a turn."""
    yield
    assert upstream.journal.exchanges == []
    assert (
        books.rows("SELECT id FROM billing_reservation WHERE account_id = %s AND state = 'pending'", world.workspace_id)
        == []
    )
    assert world.spent == 0


async def refused(reply: Reply, status: int, code: str) -> dict[str, Any]:
    """The problem, once it is found to be the right one."""
    async with reply:
        told = await reply.json()
        assert (reply.status, told["code"]) == (status, code), told
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert told["status"] == status
    assert told["request_id"] == reply.headers["X-Request-Id"]
    assert {"type", "title", "detail", "instance"} <= told.keys()
    return told


def broken(secret: str) -> str:
    """The same secret with another character before its checksum."""
    return secret[:20] + ("a" if secret[20] != "a" else "b") + secret[21:]


@pytest.mark.parametrize(
    "path",
    [
        "/api/streams/", "/api/streams/x", "/api/streams/ws_1/ag_2", "/api/streams/{w}/{a}/s/c/d/e",
        "/api/streams/{a}/{w}", "/api/streams/{w}/{a}/test/chat/begin", "/api/streams/{w}//{a}",
        "/api/streams/{w}/{a}/config",
    ],
)  # fmt: skip
async def test_unknown_path(client: Client, world: World, path: str) -> None:
    path = path.replace("{w}", world.workspace_id).replace("{a}", world.agent_id)
    await refused(await client.post(path, "hello"), 404, "not_found")


@pytest.mark.parametrize("where", ["path", "header"])
async def test_stream_secrets(client: Client, world: World, books: Books, where: str) -> None:
    foreign = World(books)
    unknown = vault.mint(vault.STREAM_SECRET).plain
    wrong = [
        unknown,
        broken(world.secret),
        "hms_short",
        world.new_key("streams:open"),
        world.new_secret(expires_at=PAST),
        world.new_secret(revoked_at=PAST),
        world.new_secret(world.new_agent()),
        foreign.secret,
    ]
    for secret in wrong:
        if where == "path":
            reply = await client.post(f"{world.open_path}/{secret}", "hello")
        else:
            reply = await client.post(world.open_path, "hello", Authorization=f"Bearer {secret}")
        told = await refused(reply, 401, "unauthenticated")
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        assert secret not in str(told)
    await refused(await client.post(world.open_path, "hello"), 401, "unauthenticated")
    await refused(await client.post(world.open_path, "hello", Authorization="Basic x"), 401, "unauthenticated")


async def test_a_revoked_secret_stops_working_within_a_second(client: Client, world: World, books: Books) -> None:
    path = f"{world.path}/some-chat-that-is-not/stream"
    async with await client.get(path) as reply:
        assert reply.status == 204
    books.run("UPDATE agents_streamsecret SET revoked_at = now() WHERE agent_id = %s", world.agent_id)
    await asyncio.sleep(1.05)
    await refused(await client.get(path), 401, "unauthenticated")


async def test_malformed_credentials_cost_no_query(
    start_server: Start, session: aiohttp.ClientSession, world: World
) -> None:
    """Shown in front of a database that does not exist: only what must look there notices."""
    server = await asyncio.to_thread(start_server, DATABASE_URL=database_url("there_is_none"))
    client = Client(session, server.url)
    for secret in (broken(world.secret), "hms_short", "x"):
        await refused(await client.post(f"{world.open_path}/{secret}", "hello"), 401, "unauthenticated")
    await refused(
        await client.post(f"{world.open_path}/test", "x", Authorization="Bearer hmk_x"), 401, "unauthenticated"
    )
    await refused(await client.post(f"{world.open_path}/test", "hello"), 403, "session_invalid")
    await refused(await client.post("/api/streams/x/y/z", "hello"), 404, "not_found")
    reply = await client.post(world.path, "hello")
    await refused(reply, 503, "unavailable")
    assert reply.headers["Retry-After"]


async def test_members(client: Client, world: World, books: Books) -> None:
    path = f"{world.open_path}/test"
    stranger, viewer = world.new_user(), world.new_user()
    world.join(viewer, "viewer")
    owner = world.session(world.user_id)
    await refused(await client.post(path, "hello"), 403, "session_invalid")
    await refused(await client.post(path, "hello", Cookie="sessionid=nonsense"), 403, "session_invalid")
    without_csrf = {"Cookie": owner["Cookie"]}
    wrong_csrf = owner | {"X-CSRFToken": "d" * 32}
    foreign_page = owner | {"Origin": "https://evil.example"}
    await refused(await client.post(path, "hello", **without_csrf), 403, "session_invalid")
    await refused(await client.post(path, "hello", **wrong_csrf), 403, "session_invalid")
    await refused(await client.post(path, "hello", **foreign_page), 403, "session_invalid")
    await refused(await client.post(path, "hello", **world.session(stranger)), 403, "permission_denied")
    await refused(await client.post(path, "hello", **world.session(viewer)), 403, "permission_denied")
    other = World(books)
    elsewhere = f"/api/streams/{other.workspace_id}/{other.agent_id}/test"
    await refused(await client.post(elsewhere, "hello", **owner), 403, "permission_denied")
    misplaced = f"/api/streams/{world.workspace_id}/{other.agent_id}/test"
    await refused(await client.post(misplaced, "hello", **owner), 404, "not_found")


async def test_api_keys(client: Client, world: World, books: Books) -> None:
    path = f"{world.open_path}/test"
    for key, status, code in [
        (world.new_key("read", "write"), 403, "permission_denied"),
        (World(books).new_key("streams:open"), 401, "unauthenticated"),
        (world.new_key("streams:open", expires_at=PAST), 401, "unauthenticated"),
        (world.new_key("streams:open", revoked_at=PAST), 401, "unauthenticated"),
        (vault.mint(vault.API_KEY).plain, 401, "unauthenticated"),
        (world.secret, 401, "unauthenticated"),
    ]:
        await refused(await client.post(path, "hello", Authorization=f"Bearer {key}"), status, code)


async def test_origins(client: Client, world: World) -> None:
    """A refused origin cannot even read why; others read every refusal."""
    listed = f"{world.open_path}/{world.new_secret(origins=[ORIGIN, 'https://*.example.org'])}"
    for path, origin in [(world.path, ORIGIN), (listed, "https://evil.example"), (listed, "https://example.org")]:
        reply = await client.post(path, "hello", Origin=origin)
        await refused(reply, 403, "origin_not_allowed")
        assert "Access-Control-Allow-Origin" not in reply.headers
        assert reply.headers["Vary"] == "Origin"
    for origin in (ORIGIN, "https://a.b.example.org"):
        for reply, status, code in [
            (await client.post(listed, "", Origin=origin), 400, "invalid"),
            (await client.post(f"{world.open_path}/hms_x", "hello", Origin=origin), 401, "unauthenticated"),
            (await client.post(listed, "x" * (MIB + 1), Origin=origin), 413, "too_large"),
        ]:
            await refused(reply, status, code)
            assert reply.headers["Access-Control-Allow-Origin"] == origin
            assert "Access-Control-Allow-Credentials" not in reply.headers
            assert "X-Request-Id" in reply.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize("tail", ["", "/", "/some-chat-of-length/stream", "/some-chat-of-length/stop"])
async def test_preflight(client: Client, world: World, tail: str) -> None:
    async with await client.call("OPTIONS", world.path + tail, Origin=ORIGIN) as reply:
        assert (reply.status, await reply.body()) == (204, b"")
    assert reply.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "POST" in reply.headers["Access-Control-Allow-Methods"]
    assert "X-Stream-Dialect" in reply.headers["Access-Control-Allow-Headers"]


BODIES: list[tuple[Any, str]] = [
    ("", ""),
    (" \n\t ", ""),
    (b"\xff\xfe", ""),
    ({}, ""),
    ({"messages": []}, "/messages"),
    ({"messages": "hello"}, "/messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "/messages/0/role"),
    ({"messages": [{"role": "system", "content": "obey"}, {"role": "user", "content": "x"}]}, "/messages/0/role"),
    ({"messages": [{"role": "user", "content": 7}]}, "/messages/0/content"),
    ({"messages": [{"role": "user", "parts": [{"type": "text", "text": None}]}]}, "/messages/0/parts/0/text"),
    ({"messages": [{"role": "user", "content": "x"}] * 501}, "/messages"),
    ({"message": None}, "/message"),
    ({"message": "x", "id": 5}, "/id"),
    ({"message": "x", "id": "a/b"}, "/id"),
    ({"message": "x", "trigger": "explode"}, "/trigger"),
    ({"approvals": [{"approvalId": "a", "approved": "yes"}]}, "/approvals/0/approved"),
]


@pytest.mark.parametrize(("body", "pointer"), BODIES)
async def test_bad_bodies_are_told_by_pointer(client: Client, world: World, body: Any, pointer: str) -> None:
    told = await refused(await client.post(world.path, body), 400, "invalid")
    assert [error["pointer"] for error in told["errors"]] == [pointer]
    assert all(error["code"] and error["detail"] for error in told["errors"])


async def test_a_system_message_passes_for_members(client: Client, books: Books) -> None:
    poor = World(books, nano=0)
    body = {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "x"}]}
    key = poor.new_key("streams:open")
    async with await client.post(f"{poor.open_path}/test", body, Authorization=f"Bearer {key}") as reply:
        assert reply.status == 200, "it is refused for want of money only, and that is told on the stream"
        assert (await reply.all())[0]["code"] == "insufficient_credits"


@pytest.mark.parametrize("framing", ["Content-Length: 2097152", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("kind", ["uvicorn"])
async def test_too_large_a_body_is_refused_before_it_is_read(
    server: Server, client: Client, world: World, framing: str, kind: str
) -> None:
    """With a length, before a byte of it was sent; in chunks, as soon as there is too much."""
    head = f"POST {world.path} HTTP/1.1\r\nHost: {urlsplit(server.url).netloc}\r\n{framing}\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head)
    if "chunked" in framing:
        for _ in range(17):
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
    begun = time.monotonic()
    status = await asyncio.wait_for(reader.readline(), 5)
    assert status.split()[1] == b"413"
    assert time.monotonic() - begun < 2
    writer.transport.abort()


async def test_agents_models_and_prompts(client: Client, world: World, books: Books) -> None:
    key = {"Authorization": f"Bearer {world.new_key('streams:open')}"}

    def path(agent_id: str) -> str:
        return f"/api/streams/{world.workspace_id}/{agent_id}/test"

    await refused(await client.post(path(ids.new("ag")), "hello", **key), 404, "not_found")
    await refused(await client.post(path(world.new_agent(deleted_at=PAST)), "hello", **key), 404, "not_found")
    unpriced = world.new_agent(model="model-without-a-price")
    told = await refused(await client.post(path(unpriced), "hello", **key), 422, "unprocessable")
    assert "model-without-a-price" in told["detail"]
    await refused(await client.post(world.path, "word " * 70_000), 422, "prompt_too_large")


async def test_dialects(client: Client, world: World) -> None:
    for dialect in ("klingon", "v4"):
        await refused(await client.post(world.path, "hello", X_Stream_Dialect=dialect), 400, "invalid")
        await refused(await client.post(f"{world.path}?dialect={dialect}", "hello"), 400, "invalid")


async def test_conversations_of_others(client: Client, world: World, books: Books) -> None:
    foreign = ids.new("conv")
    now = datetime.now(UTC)
    books.insert(
        "streams_conversation", id=foreign, workspace_id=world.workspace_id, agent_id=world.agent_id,
        scope="sec_of_somebody_else", created_at=now, updated_at=now,
    )  # fmt: skip
    for name in (foreign, ids.new("conv"), "nonsense", "x" * 5000):
        await refused(await client.post(world.path, "hello", X_Conversation_Id=name), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "tail"),
    [("PUT", ""), ("DELETE", ""), ("GET", "/chat-of-some-length/stop"), ("POST", "/chat-of-some-length/stream")],
)
async def test_methods(client: Client, world: World, method: str, tail: str) -> None:
    reply = await client.call(method, world.path + tail)
    await refused(reply, 405, "method_not_allowed")
    assert "OPTIONS" in reply.headers["Allow"]


async def test_the_order_of_refusals(client: Client, world: World) -> None:
    """A request that is wrong in every way is told the cheapest; each remedy shows the next."""
    far = {"Origin": "https://evil.example"}
    large, unpriced = "x" * (MIB + 1), world.new_agent(model="model-without-a-price")
    secret = world.new_secret(unpriced, origins=[ORIGIN])
    near = {"Origin": ORIGIN}
    base = f"/api/streams/{world.workspace_id}/{unpriced}"
    await refused(await client.post(f"{base}/a/b/c/d", large, **far), 404, "not_found")
    await refused(await client.post(f"{base}/hms_x", large, **far), 401, "unauthenticated")
    await refused(await client.post(f"{base}/{secret}", large, **far), 403, "origin_not_allowed")
    await refused(await client.post(f"{base}/{secret}", large, **near), 413, "too_large")
    await refused(await client.post(f"{base}/{secret}", "", **near, X_Conversation_Id="nonsense"), 400, "invalid")
    await refused(await client.post(f"{base}/{secret}", "x", **near, X_Conversation_Id="nonsense"), 404, "not_found")
    await refused(await client.post(f"{base}/{secret}", "x", **near), 422, "unprocessable")


async def test_trailing_slashes(client: Client, books: Books) -> None:
    poor = World(books, nano=0)
    for path in (f"{poor.path}/", f"{poor.path}/chat-of-some-length/stop/"):
        async with await client.post(path, "hello") as reply:
            assert reply.status == 200
    async with await client.get(f"{poor.path}/chat-of-some-length/stream/") as reply:
        assert reply.status == 204


async def test_request_ids(client: Client, world: World) -> None:
    reply = await client.post(world.path, "", X_Request_Id="my-own.id_7")
    assert (await refused(reply, 400, "invalid"))["request_id"] == "my-own.id_7"
    reply = await client.post(world.path, "", X_Request_Id="not an id; at all")
    assert (await refused(reply, 400, "invalid"))["request_id"].startswith("req_")


async def test_internal_errors_keep_their_text(
    start_server: Start, session: aiohttp.ClientSession, world: World, books: Books
) -> None:
    """Something of ours breaks: the caller gets a code and a request id, the log has the rest."""
    server = await asyncio.to_thread(start_server)
    client = Client(session, server.url)
    for table, dialect in [
        ("agents_streamsecret", "plain"),
        ("billing_plan", "plain"),
        ("billing_plan", "json"),
        ("billing_reservation", "plain"),
    ]:  # in this order: a statement that was prepared outlives the renaming of its table
        books.run(f"ALTER TABLE {table} RENAME TO gone_for_now")
        try:
            async with await client.post(world.path, "hello", X_Stream_Dialect=dialect) as reply:
                body = (await reply.body()).decode()
                await refused(reply, 500, "internal_error")
        finally:
            books.run(f"ALTER TABLE gone_for_now RENAME TO {table}")
        for secret_word in ("relation", "gone_for_now", table, "SELECT", "Traceback", "psycopg", "Undefined"):
            assert secret_word not in body
        request_id = reply.headers["X-Request-Id"]
        told = [line for line in server.written().splitlines() if request_id in line and '"level": "error"' in line]
        assert any("UndefinedTable" in line for line in told)


def test_a_half_sent_request_leaves_nothing(server: Server, world: World, upstream: Upstream) -> None:
    """A client that dies in mid-body."""
    with socket.create_connection(("127.0.0.1", server.port)) as half:
        half.sendall(f"POST {world.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhello".encode())
    time.sleep(0.2)
    assert "Traceback" not in server.written()[-3000:]


async def test_expiry_is_heeded(client: Client, world: World) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=0.5)
    path = f"{world.open_path}/{world.new_secret(expires_at=soon)}/chat-of-some-length/stream"
    async with await client.get(path) as reply:
        assert reply.status == 204
    await asyncio.sleep(1.6)
    await refused(await client.get(path), 401, "unauthenticated")
