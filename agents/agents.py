"""Agents: creating, changing and deleting them. Each change counts `version` up by one, which is the agent's ETag."""

from collections.abc import Collection, Mapping

from django.db import transaction
from django.utils import timezone

from agents.models import Agent, StreamSecret, Workspace
from agents.problems import Problem
from agents.workspaces import require_room


def create_agent(workspace: Workspace, fields: Mapping[str, object]) -> Agent:
    """An agent of the workspace; `fields` are validated model fields. Raises Problem `plan_limit_reached`."""
    with transaction.atomic():
        require_room(workspace.subscription_id, "agents")
        return Agent.objects.create(workspace=workspace, **fields)


def change_agent(agent: Agent, fields: Mapping[str, object], *, versions: Collection[int] | None) -> Agent:
    """The agent with those validated fields changed. `versions` are the ones the caller has seen; None means any.

    Raises Problem `precondition_failed` where it has another version by now, and `not_found` where it is gone. A
    change that changes nothing keeps the version.
    """
    with transaction.atomic():
        locked = _lock(agent, versions)
        changed = {name: value for name, value in fields.items() if getattr(locked, name) != value}
        if changed:
            for name, value in changed.items():
                setattr(locked, name, value)
            locked.version += 1
            locked.updated_at = timezone.now()
            locked.save(update_fields=[*changed, "version", "updated_at"])
        return locked


def delete_agent(agent: Agent, *, versions: Collection[int] | None) -> None:
    """Take the agent away and revoke its stream secrets; its conversations stay stored. Raises as `change_agent`."""
    now = timezone.now()
    with transaction.atomic():
        locked = _lock(agent, versions)
        locked.deleted_at = now
        locked.save(update_fields=["deleted_at"])
        StreamSecret.objects.filter(agent=locked, revoked_at__isnull=True).update(revoked_at=now)


def _lock(agent: Agent, versions: Collection[int] | None) -> Agent:
    locked = Agent.objects.present().select_for_update(of=("self",)).filter(pk=agent.pk).first()
    if locked is None:
        raise Problem("not_found", "The agent has been deleted.")
    if versions is not None and locked.version not in versions:
        raise Problem("precondition_failed", "The agent has been changed since; read it again.")
    return locked
