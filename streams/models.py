"""Conversations, their turns and messages. Written by `streams.records`, in the ledger's round trips."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from billing.ids import PrefixedIdField


class Conversation(models.Model):
    """Messages under an agent, a credential and an end user.

    `scope` is whose chat it is: the lineage of a stream secret, an API key or a user. `chat_id` is the client's own id
    within that scope.
    """

    id = PrefixedIdField("conv")
    workspace = models.ForeignKey("agents.Workspace", on_delete=models.PROTECT, related_name="conversations")
    agent = models.ForeignKey("agents.Agent", on_delete=models.PROTECT, related_name="conversations")
    scope = models.CharField(max_length=64, db_collation="C")
    chat_id = models.CharField(max_length=128, null=True, db_collation="C")
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["agent", "scope", "chat_id"], name="a_chat_id_names_one_chat_of_its_scope"),
        ]
        indexes = [models.Index(fields=["agent", "-id"], name="conversations_of_an_agent")]

    def __str__(self) -> str:
        return self.id


class Turn(models.Model):
    """One question and its answer: how it ended, what it used (tokens) and what it cost (nano-dollars)."""

    id = PrefixedIdField("turn")
    workspace = models.ForeignKey("agents.Workspace", on_delete=models.PROTECT, related_name="turns")
    agent = models.ForeignKey("agents.Agent", on_delete=models.PROTECT, related_name="turns")
    conversation = models.ForeignKey(Conversation, on_delete=models.PROTECT, related_name="turns")
    model = models.CharField(max_length=200)
    simulated = models.BooleanField(default=False)
    request_id = models.CharField(max_length=64)
    ending = models.CharField(max_length=32, null=True, help_text="how it ended; empty while it runs")
    finish_reason = models.CharField(max_length=16, null=True)
    input_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0)
    reasoning_tokens = models.PositiveIntegerField(default=0)
    cached_input_tokens = models.PositiveIntegerField(default=0)
    estimated = models.BooleanField(default=False)
    cost_nano = models.BigIntegerField(default=0)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(ending__isnull=True, ended_at__isnull=True)
                | Q(ending__isnull=False, ended_at__isnull=False),
                name="a_turn_has_an_ending_when_it_has_ended",
            ),
            models.CheckConstraint(condition=Q(cost_nano__gte=0), name="a_turn_never_costs_less_than_nothing"),
        ]
        indexes = [models.Index(fields=["workspace"], name="running_turns", condition=Q(ended_at__isnull=True))]

    def __str__(self) -> str:
        return self.id


class Message(models.Model):
    """One message of a conversation. `parts` is a list as in `streams.messages`, tagged by `type`."""

    id = PrefixedIdField("msg")
    conversation = models.ForeignKey(Conversation, on_delete=models.PROTECT, related_name="messages")
    turn = models.ForeignKey(Turn, on_delete=models.PROTECT, related_name="messages")
    role = models.CharField(max_length=9)
    parts = models.JSONField()
    client_id = models.CharField(max_length=128, null=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["conversation", "client_id"], name="a_client_message_is_kept_once_in_a_conversation"
            ),
            models.CheckConstraint(
                condition=Q(role__in=["system", "user", "assistant", "tool"]), name="a_message_has_a_known_role"
            ),
        ]
        indexes = [models.Index(fields=["conversation", "id"], name="messages_of_a_conversation")]

    def __str__(self) -> str:
        return self.id
