"""A workspace to try things in, with a plan, credits, an agent and every kind of credential."""

import secrets
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth.hashers import make_password
from django.contrib.sessions.backends.db import SessionStore

from agents import vault
from agents.models import User
from billing import ids, ledger
from tests.journeys.books import MODEL, Books

USD = 1_000_000_000


class World:
    """Made for one test. `paid` is what it was granted, in nano-dollars."""

    def __init__(self, books: Books, *, nano: int = 5 * USD, longest_stream_s: int = 3600, **agent: Any) -> None:
        self.books = books
        self.granted = nano
        plan = f"plan{ids.new('p')[-20:]}"
        counts = dict.fromkeys(("max_workspaces", "max_agents", "max_members", "max_documents", "max_keys"), 100)
        books.insert(
            "billing_plan", code=plan, name=plan, monthly_price_nano=0, requests_per_second=1000, burst=1000,
            concurrent_streams=1000, tokens_per_minute=100_000, turns_per_day=10_000, position=9,
            longest_stream_s=longest_stream_s, max_documents_mb=1, max_mcp_servers=1, own_provider_key=False, **counts,
        )  # fmt: skip
        self.user_id = self.new_user()
        subscription = ids.new("sub")
        now = datetime.now(UTC)
        books.insert("billing_subscription", id=subscription, owner_id=self.user_id, plan_id=plan, created_at=now)
        self.workspace_id = ids.new("ws")
        books.insert(
            "agents_workspace", id=self.workspace_id, name="Journey", subscription_id=subscription, created_at=now
        )
        books.insert("billing_creditaccount", workspace_id=self.workspace_id, balance_nano=0, held_nano=0, last_entry=0)
        self.join(self.user_id, "owner")
        if nano:
            books.apply(ledger.grant(account=self.workspace_id, amount_nano=nano, reason="to travel with"))
        self.agent_id = self.new_agent(**agent)
        self.secret = self.new_secret()

    def new_user(self) -> str:
        user_id = ids.new("usr")
        self.books.insert(
            "agents_user", id=user_id, email=f"{user_id}@example.com", name="", password=make_password(None),
            is_superuser=False, is_staff=False, is_active=True, joined_at=datetime.now(UTC),
        )  # fmt: skip
        return user_id

    def join(self, user_id: str, role: str) -> None:
        self.books.insert(
            "agents_membership",
            workspace_id=self.workspace_id,
            user_id=user_id,
            role=role,
            created_at=datetime.now(UTC),
        )

    def new_agent(self, **fields: Any) -> str:
        agent_id = ids.new("ag")
        now = datetime.now(UTC)
        values: dict[str, Any] = {
            "id": agent_id, "workspace_id": self.workspace_id, "name": "Ada", "system_prompt": "", "model": MODEL,
            "max_output_tokens": 1000, "stop_sequences": [], "dialect": "auto", "show_reasoning": False,
            "on_disconnect": "stop", "disconnect_grace_s": 0, "version": 1, "created_at": now, "updated_at": now,
        }  # fmt: skip
        self.books.insert("agents_agent", **values | fields)
        return agent_id

    def new_secret(self, agent_id: str | None = None, *, origins: list[str] | None = None, **fields: Any) -> str:
        """A stream secret's plain text; `fields` are columns."""
        minted = vault.mint(vault.STREAM_SECRET)
        secret_id = ids.new("sec")
        values: dict[str, Any] = {
            "id": secret_id, "name": "widget", "public_id": minted.public_id, "digest": minted.digest,
            "created_at": datetime.now(UTC), "allowed_origins": origins or [], "lineage": secret_id,
            "agent_id": agent_id or self.agent_id,
        }  # fmt: skip
        self.books.insert("agents_streamsecret", **values | fields)
        return minted.plain

    def new_key(self, *scopes: str, **fields: Any) -> str:
        """An API key's plain text."""
        minted = vault.mint(vault.API_KEY)
        values: dict[str, Any] = {
            "id": ids.new("key"), "name": "integration", "public_id": minted.public_id, "digest": minted.digest,
            "created_at": datetime.now(UTC), "workspace_id": self.workspace_id, "scopes": list(scopes),
        }  # fmt: skip
        self.books.insert("agents_apikey", **values | fields)
        return minted.plain

    def session(self, user_id: str) -> dict[str, str]:
        """The headers of a browser where that user is signed in, with a CSRF token."""
        row = self.books.one("SELECT password FROM agents_user WHERE id = %s", user_id)
        store = SessionStore()
        key, csrf = secrets.token_hex(16), "c" * 32
        data = store.encode(
            {
                "_auth_user_id": user_id,
                "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
                "_auth_user_hash": User(id=user_id, password=row["password"]).get_session_auth_hash(),
            }
        )
        expiry = datetime(2099, 1, 1, tzinfo=UTC)
        self.books.insert("django_session", session_key=key, session_data=data, expire_date=expiry)
        return {"Cookie": f"sessionid={key}; csrftoken={csrf}", "X-CSRFToken": csrf}

    @property
    def path(self) -> str:
        """The stream URL's path, with the secret in it."""
        return f"{self.open_path}/{self.secret}"

    @property
    def open_path(self) -> str:
        """The stream path without a secret."""
        return f"/api/streams/{self.workspace_id}/{self.agent_id}"

    @property
    def spent(self) -> int:
        """What has been charged in all, in nano-dollars, by the balance."""
        return self.granted - self.books.account(self.workspace_id)[0]

    async def nothing_is_open(self, *, seconds: float = 10.0, turns: int | None = None) -> list[dict[str, Any]]:
        """Waits for the end of every turn; asserts that no credit is held and that the books are right."""
        ended = await self.books.ended(self.workspace_id, seconds=seconds, count=turns)
        assert self.books.account(self.workspace_id)[1] == 0
        assert self.spent == sum(turn["cost_nano"] for turn in ended)
        assert self.books.violations() == []
        return ended
