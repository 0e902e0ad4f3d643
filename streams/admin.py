"""Staff's view of talk: that it happened, how it ended and what it cost, never what was said."""

from django.contrib import admin

from billing.admin import ReadOnlyAdmin, usd_column
from streams.models import Conversation, Turn


@admin.register(Conversation)
class ConversationAdmin(ReadOnlyAdmin):
    list_display = ["id", "workspace_id", "agent_id", "created_at", "updated_at"]
    search_fields = ["=id", "=workspace__id", "=agent__id"]
    ordering = ["-id"]
    fields = ["id", "workspace", "agent", "created_at", "updated_at"]


@admin.register(Turn)
class TurnAdmin(ReadOnlyAdmin):
    list_display = ["id", "workspace_id", "model", "ending", "finish_reason", "input_tokens", "output_tokens",
                    usd_column("cost_nano", "cost, USD"), "estimated", "started_at", "ended_at"]  # fmt: skip
    list_filter = ["ending", "simulated", "estimated"]
    search_fields = ["=id", "=workspace__id", "=agent__id", "=conversation__id", "=request_id"]
    ordering = ["-id"]
    fields = ["id", "workspace", "agent", "conversation", "model", "simulated", "request_id", "ending", "finish_reason",
              "input_tokens", "output_tokens", "reasoning_tokens", "cached_input_tokens", "estimated", "cost",
              "started_at", "ended_at"]  # fmt: skip
    readonly_fields = fields

    cost = staticmethod(usd_column("cost_nano", "cost, USD"))
