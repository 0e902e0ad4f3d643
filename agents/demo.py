"""The demo that a newcomer meets: a user, the workspace "Demo shop" on the pro plan, the agent "Ada", and 10 USD.

Seeding again changes nothing but the credentials, which are new each time, and the credit, once it is nearly spent.
"""

from datetime import datetime
from typing import NamedTuple

from django.conf import settings
from django.db import transaction

from agents import vault
from agents.models import Agent, ApiKey, Membership, StreamSecret, User, Workspace
from billing import ids, ledger, money
from billing.models import CreditAccount, Plan, Subscription

EMAIL = "demo@example.com"
CREDENTIAL_NAME = "demo"
CREDIT_NANO = 10 * money.NANO
LOW_NANO = 1 * money.NANO
PROMPT = (
    "You are Ada, the assistant of a small shop that sells notebooks and pens. Be brief and friendly. "
    "Say so when you do not know something."
)


class Demo(NamedTuple):
    """What the seed made; the two secrets are shown here and nowhere else."""

    user: User
    workspace: Workspace
    agent: Agent
    stream_secret: str
    api_key: str


class NotADemo(Exception):
    """This installation is not a demo: a well-known superuser has no place in it."""


@transaction.atomic
def seed(*, model: str, origins: list[str], now: datetime) -> Demo:
    """Make the demo, or what is missing of it, and new credentials; those of the last call are revoked.

    Raises NotADemo unless HELPMATON_DEMO or DEBUG is on.
    """
    if not (settings.DEMO or settings.DEBUG):
        raise NotADemo("The demo makes a superuser that everybody knows; set HELPMATON_DEMO=1 where you want it.")
    user = _user()
    workspace = _workspace(user)
    agent = _agent(workspace, model, now)
    _grant(workspace)
    return Demo(user, workspace, agent, _stream_secret(agent, origins, now), _api_key(workspace, user, now))


def _user() -> User:
    User.objects.get_or_create(email=EMAIL, defaults={"name": "Demo", "password": "!"})
    user = User.objects.select_for_update().get(email=EMAIL)  # two seeds at once: one waits for the other
    user.is_staff = user.is_superuser = user.is_active = True
    user.save(update_fields=["is_staff", "is_superuser", "is_active"])
    return user


def _workspace(user: User) -> Workspace:
    plan = Plan.objects.get(code="pro")
    subscription, _ = Subscription.objects.update_or_create(owner=user, defaults={"plan": plan})
    workspace = subscription.workspaces.present().filter(name="Demo shop").order_by("id").first()
    if workspace is None:
        workspace = Workspace.objects.create(name="Demo shop", subscription=subscription)
    Membership.objects.update_or_create(workspace=workspace, user=user, defaults={"role": Membership.Role.OWNER})
    CreditAccount.objects.get_or_create(workspace=workspace)
    return workspace


def _agent(workspace: Workspace, model: str, now: datetime) -> Agent:
    agent = Agent.objects.present().filter(workspace=workspace, name="Ada").order_by("id").first()
    if agent is None:
        return Agent.objects.create(workspace=workspace, name="Ada", system_prompt=PROMPT, model=model)
    if agent.model != model and settings.SIMULATED_MODEL in (agent.model, model):
        # A provider was set up or taken away since; a model that somebody chose among real ones stays.
        agent.model, agent.version, agent.updated_at = model, agent.version + 1, now
        agent.save(update_fields=["model", "version", "updated_at"])
    return agent


def _grant(workspace: Workspace) -> None:
    first = ledger.change_credits(
        account=workspace.id,
        amount_nano=CREDIT_NANO,
        reason="demo credit",
        item_id="led_" + workspace.id.removeprefix("ws_"),  # asked again it is not granted again
    )
    if first.available < LOW_NANO:
        ledger.change_credits(
            account=workspace.id, amount_nano=CREDIT_NANO - first.available, reason="demo credit topped up"
        )


def _stream_secret(agent: Agent, origins: list[str], now: datetime) -> str:
    former = StreamSecret.objects.filter(agent=agent, name=CREDENTIAL_NAME, revoked_at__isnull=True)
    last = former.order_by("-id").first()
    former.update(revoked_at=now)
    minted = vault.mint(vault.STREAM_SECRET)
    secret_id = ids.new("sec")
    StreamSecret.objects.create(
        id=secret_id,
        agent=agent,
        name=CREDENTIAL_NAME,
        public_id=minted.public_id,
        digest=minted.digest,
        allowed_origins=origins,
        lineage=last.lineage if last else secret_id,
    )
    return minted.plain


def _api_key(workspace: Workspace, user: User, now: datetime) -> str:
    ApiKey.objects.filter(workspace=workspace, name=CREDENTIAL_NAME, revoked_at__isnull=True).update(revoked_at=now)
    minted = vault.mint(vault.API_KEY)
    ApiKey.objects.create(
        workspace=workspace,
        name=CREDENTIAL_NAME,
        public_id=minted.public_id,
        digest=minted.digest,
        scopes=ApiKey.Scope.values,
        created_by=user,
    )
    return minted.plain
