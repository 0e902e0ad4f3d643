"""Workspaces: creating, renaming and deleting them, and the counts that a plan limits.

Whatever a plan limits is counted over all workspaces of its subscription, in the transaction that creates the thing and
with the subscription's row locked, so that two requests at once cannot both take the last place.
"""

from collections.abc import Callable

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from agents.models import Agent, ApiKey, Membership, StreamSecret, User, Workspace
from agents.problems import Problem
from billing.models import CreditAccount, Plan, Subscription

FREE_PLAN = "free"


def create_workspace(owner: User, *, name: str) -> Workspace:
    """A workspace on the user's own subscription, with no credits yet. Raises Problem `plan_limit_reached`."""
    with transaction.atomic():
        subscription, _ = Subscription.objects.get_or_create(owner=owner, defaults={"plan_id": FREE_PLAN})
        require_room(subscription.pk, "workspaces")
        workspace = Workspace.objects.create(name=name, subscription=subscription)
        Membership.objects.create(workspace=workspace, user=owner, role=Membership.Role.OWNER)
        CreditAccount.objects.create(workspace=workspace)
    return workspace


def rename_workspace(workspace: Workspace, *, name: str) -> Workspace:
    """Give the workspace another name."""
    workspace.name = name
    workspace.save(update_fields=["name"])
    return workspace


def delete_workspace(workspace: Workspace) -> None:
    """Take the workspace away from everybody and revoke what opens it. Its agents, talk and ledger stay stored."""
    now = timezone.now()
    with transaction.atomic():
        Workspace.objects.present().filter(pk=workspace.pk).update(deleted_at=now)
        ApiKey.objects.filter(workspace=workspace, revoked_at__isnull=True).update(revoked_at=now)
        StreamSecret.objects.filter(agent__workspace=workspace, revoked_at__isnull=True).update(revoked_at=now)


def require_room(subscription_id: str, thing: str, *, times: int = 1) -> None:
    """Lock the subscription and raise Problem `plan_limit_reached` where its plan has no room for one more `thing`
    (`workspaces`, `agents` or `keys`). To be called in the transaction that creates it.

    `times` stretches the limit: rotating a key leaves two of it until the older one expires.
    """
    subscription = Subscription.objects.select_for_update().get(pk=subscription_id)
    limit_of, count, words = _LIMITED[thing]
    limit = limit_of(subscription.plan) * times
    if count(subscription_id) >= limit:
        raise Problem("plan_limit_reached", f"The plan allows {limit} {words}, and all are in use.")


def _workspaces(subscription_id: str) -> int:
    return Workspace.objects.present().filter(subscription_id=subscription_id).count()


def _agents(subscription_id: str) -> int:
    return Agent.objects.present().filter(workspace__subscription_id=subscription_id).count()


def _keys(subscription_id: str) -> int:
    """Stream secrets and API keys that still open something."""
    live = Q(revoked_at__isnull=True) & (Q(expires_at__isnull=True) | Q(expires_at__gt=timezone.now()))
    present = {"workspace__subscription_id": subscription_id, "workspace__deleted_at__isnull": True}
    agents = Agent.objects.present().filter(workspace__subscription_id=subscription_id)
    return StreamSecret.objects.filter(live, agent__in=agents).count() + ApiKey.objects.filter(live, **present).count()


_LIMITED: dict[str, tuple[Callable[[Plan], int], Callable[[str], int], str]] = {
    "workspaces": (lambda plan: plan.max_workspaces, _workspaces, "workspaces"),
    "agents": (lambda plan: plan.max_agents, _agents, "agents over all workspaces"),
    "keys": (lambda plan: plan.max_keys, _keys, "stream secrets and API keys over all workspaces"),
}
