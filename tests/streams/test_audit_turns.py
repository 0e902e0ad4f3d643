"""The auditor of turns finds a turn that ended with its hold open, and one that runs on nothing."""

from datetime import timedelta

import pytest
from django.utils import timezone

from agents.models import Agent
from billing import ids, ledger
from billing.models import Reservation
from streams import audit
from streams.models import Conversation, Turn
from tests.billing.books import open_account

pytestmark = pytest.mark.django_db


@pytest.fixture
def turn() -> Turn:
    """A turn that has run for two minutes on a hold."""
    account = open_account(1_000)
    agent = Agent.objects.create(workspace_id=account, name="Ada", model="simulated/echo-1")
    conversation = Conversation.objects.create(workspace_id=account, agent=agent, scope="test")
    turn = Turn.objects.create(
        workspace_id=account,
        agent=agent,
        conversation=conversation,
        model=agent.model,
        request_id=ids.new("req"),
        started_at=timezone.now() - timedelta(minutes=2),
    )
    ledger.apply([ledger.reserve(account=account, turn=turn.id, amount_nano=100, least_nano=100)])
    return turn


def broken() -> list[tuple[str, str]]:
    return [(violation.law, violation.subject) for violation in audit.violations()]


def test_a_running_turn_with_its_hold_is_right(turn: Turn) -> None:
    assert broken() == []


def test_a_turn_that_ended_with_its_hold_open(turn: Turn) -> None:
    Turn.objects.update(ended_at=timezone.now(), ending="finished")
    assert broken() == [("a turn that has ended holds nothing", turn.id)]
    ledger.apply([ledger.settle(account=turn.workspace_id, turn=turn.id, used_nano=1, estimated=False)])
    assert broken() == [("a turn that has ended cost what it was charged", turn.id)]
    Turn.objects.update(cost_nano=1)
    assert broken() == []


def test_a_turn_that_runs_on_nothing(turn: Turn) -> None:
    ledger.apply([ledger.release(account=turn.workspace_id, turn=turn.id)])
    assert broken() == [], "a turn may take a moment to end"
    Reservation.objects.update(closed_at=timezone.now() - timedelta(seconds=61))
    assert broken() == [("a turn that runs has a hold", turn.id)]


def test_a_turn_that_never_had_a_hold(turn: Turn) -> None:
    Turn.objects.update(id=ids.new("turn"))
    assert [law for law, _ in broken()] == ["a turn that runs has a hold"]
