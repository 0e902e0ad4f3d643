"""Credentials, roles and origins that open nothing, in the order of refusals, and that none of it leaves anything
behind."""

import asyncio
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from agents import vault
from tests.journeys.books import Books
from tests.journeys.conftest import Start, database_url
from tests.journeys.refusing import MIB, ORIGIN, PAST, broken, refused
from tests.journeys.talk import Client
from tests.journeys.world import World

pytestmark = pytest.mark.usefixtures("nothing_is_left")


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


@pytest.mark.parametrize("dialect", ["plain", "ui"])
async def test_a_listed_origin_may_read_the_stream(client: Client, books: Books, dialect: str) -> None:
    poor = World(books, nano=0)
    path = f"{poor.open_path}/{poor.new_secret(origins=[ORIGIN])}"
    async with await client.post(path, "hello", Origin=ORIGIN, X_Stream_Dialect=dialect) as reply:
        assert (reply.status, reply.headers["X-Stream-Dialect"]) == (200, dialect)
    assert reply.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert reply.headers["Vary"] == "Origin"
    assert "X-Conversation-Id" in reply.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in reply.headers


async def test_what_is_gone_opens_nothing(client: Client, world: World, books: Books) -> None:
    """A user who was locked out, a deleted agent's secret, and a deleted workspace by each of its doors."""
    test, owner = f"{world.open_path}/test", world.session(world.user_id)
    key = {"Authorization": f"Bearer {world.new_key('streams:open')}"}
    secret = f"{world.open_path}/{world.new_secret()}"
    books.run("UPDATE agents_user SET is_active = false WHERE id = %s", world.user_id)
    await refused(await client.post(test, "hello", **owner), 403, "session_invalid")
    books.run("UPDATE agents_user SET is_active = true WHERE id = %s", world.user_id)
    books.run("UPDATE agents_agent SET deleted_at = now() WHERE id = %s", world.agent_id)
    await refused(await client.post(world.path, "hello"), 401, "unauthenticated")
    await refused(await client.post(test, "hello", **owner), 404, "not_found")
    books.run("UPDATE agents_agent SET deleted_at = NULL WHERE id = %s", world.agent_id)
    books.run("UPDATE agents_workspace SET deleted_at = now() WHERE id = %s", world.workspace_id)
    await refused(await client.post(secret, "hello"), 401, "unauthenticated")
    await refused(await client.post(test, "hello", **owner), 403, "permission_denied")
    await refused(await client.post(test, "hello", **key), 401, "unauthenticated")


@pytest.mark.parametrize("tail", ["", "/", "/some-chat-of-length/stream", "/some-chat-of-length/stop"])
async def test_preflight(client: Client, world: World, tail: str) -> None:
    async with await client.call("OPTIONS", world.path + tail, Origin=ORIGIN) as reply:
        assert (reply.status, await reply.body()) == (204, b"")
    assert reply.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "POST" in reply.headers["Access-Control-Allow-Methods"]
    assert "X-Stream-Dialect" in reply.headers["Access-Control-Allow-Headers"]


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


async def test_expiry_is_heeded(client: Client, world: World) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=0.5)
    path = f"{world.open_path}/{world.new_secret(expires_at=soon)}/chat-of-some-length/stream"
    async with await client.get(path) as reply:
        assert reply.status == 204
    await asyncio.sleep(1.6)
    await refused(await client.get(path), 401, "unauthenticated")
