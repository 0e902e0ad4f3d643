"""May this turn begin? Agent, model, price and plan, then the conversation. Nothing is spent here."""

from typing import Any

import msgspec
from django.conf import settings

from agents.problems import Problem
from billing import ids, postgres, pricing
from billing.postgres import SharedRead
from billing.pricing import Price
from streams import protocols, providers
from streams.messages import ChatMessage, FilePart, Part, TextPart, ToolCallPart, ToolResultPart
from streams.turn import AgentSettings, Turn

IMAGE_TOKENS = 10_000
"""What an image is reserved as; providers count its tiles, not its bytes, and some charge tens of thousands."""

HISTORY, HISTORY_BYTES = 200, 256 * 1024
"""How many stored messages a body that is not complete continues, the newest, and their size as JSON."""


_agent = SharedRead("""
SELECT agent.system_prompt, agent.model, agent.temperature, agent.top_p, agent.max_output_tokens,
       agent.stop_sequences, agent.dialect, agent.show_reasoning, agent.on_disconnect, agent.disconnect_grace_s,
       plan.longest_stream_s, plan.tokens_per_minute,
       price.input_nano, price.output_nano, price.cached_input_nano
  FROM agents_agent agent
  JOIN agents_workspace workspace ON workspace.id = agent.workspace_id AND workspace.deleted_at IS NULL
  JOIN billing_subscription subscription ON subscription.id = workspace.subscription_id
  JOIN billing_plan plan ON plan.code = subscription.plan_id
  LEFT JOIN LATERAL (
       SELECT p.input_nano, p.output_nano, p.cached_input_nano
         FROM billing_modelprice p
        WHERE p.model = COALESCE(%s, agent.model) AND p.valid_from <= now()
        ORDER BY p.valid_from DESC
        LIMIT 1) price ON true
 WHERE agent.id = %s AND agent.workspace_id = %s AND agent.deleted_at IS NULL
""")

_CONVERSATION = """
SELECT id FROM streams_conversation
 WHERE agent_id = %(agent)s AND scope = %(scope)s
   AND (id = %(conversation)s OR %(conversation)s::text IS NULL AND chat_id = %(chat)s)
"""

_HISTORY = """
SELECT role, parts, client_id
  FROM (SELECT newest.*, sum(octet_length(parts::text)) OVER (ORDER BY id DESC) AS size
          FROM (SELECT id, role, parts, client_id FROM streams_message
                 WHERE conversation_id = %s ORDER BY id DESC LIMIT %s) newest) sized
 WHERE size <= %s
 ORDER BY id
"""


async def admit(turn: Turn, *, known_conversation: str | None) -> None:
    """Fill in what the turn needs to run. `known_conversation` is the id of a conversation that this process knows to
    be the caller's although its row may not be written yet. Raises Problem: 400, 404, 409 or 422."""
    opening = turn.opening
    if opening.conversation_id is not None and not ids.has_prefix(opening.conversation_id, "conv"):
        raise _no_conversation()
    instead = None if settings.PROVIDER_CONFIGURED else settings.SIMULATED_MODEL
    row = await _agent.row(instead, opening.agent_id, turn.workspace_id)
    if row is None:
        raise Problem("not_found", "There is no such agent in this workspace.")
    model = instead or str(row["model"])
    stored = await _stored_conversation(turn)
    turn.conversation_id = _conversation(turn, stored or known_conversation)
    turn.dialect = _dialect(turn, str(row["dialect"]))
    turn.provider = providers.resolve(model)
    turn.price = _price(model, row)
    turn.agent = _settings(model, row)
    turn.messages = await _messages(turn, continues=stored is not None)
    turn.prompt_bytes, turn.prompt_tokens = _prompt(turn.agent.system_prompt, turn.messages)
    if turn.prompt_tokens > int(row["tokens_per_minute"]):
        raise Problem("prompt_too_large", "The prompt alone is more than the plan allows in a minute.")


def _prompt(system_prompt: str, messages: tuple[ChatMessage, ...]) -> tuple[int, int]:
    """The bytes of all that is sent to the model as text, and the tokens that the prompt is reserved as."""
    parts = [part for message in messages for part in message.parts]
    size = len(system_prompt.encode()) + sum(map(_size, parts))
    images = sum(isinstance(part, FilePart) and part.is_image for part in parts)
    return size, pricing.prompt_tokens_at_most(size, len(messages)) + images * IMAGE_TOKENS


def _size(part: Part) -> int:
    match part:
        case TextPart(text):
            return len(text.encode("utf-8", "replace"))
        case ToolCallPart(call_id, name, value) | ToolResultPart(call_id, name, value):
            return len(call_id) + len(name) + len(msgspec.json.encode(value))
        case FilePart(url, _, filename):
            # An image that comes in the request is all image; anything else reaches the model as words or content.
            inline = part.is_image and url.startswith("data:")
            return (0 if inline else len(url)) + len(filename or "")


async def _stored_conversation(turn: Turn) -> str | None:
    """The id of the conversation that the request names, if there is one of this agent and caller."""
    opening = turn.opening
    if opening.conversation_id is None and opening.chat_id is None:
        return None
    names = {
        "agent": opening.agent_id,
        "scope": opening.caller.scope,
        "conversation": opening.conversation_id,
        "chat": opening.chat_id,
    }
    row = await postgres.fetch_one(_CONVERSATION, names)
    return None if row is None else str(row["id"])


def _no_conversation() -> Problem:
    # Made anew each time: an exception that is raised again keeps the frames of every time before.
    return Problem("not_found", "There is no such conversation here; leave X-Conversation-Id out to begin one.")


def _conversation(turn: Turn, found: str | None) -> str:
    if found is None and turn.opening.conversation_id is not None:
        raise _no_conversation()
    return found or ids.new("conv")


def _dialect(turn: Turn, agent_setting: str) -> str:
    asked = turn.opening.dialect
    try:
        return protocols.choose(
            asked.header, asked.query, asked.accept, agent_setting, turn.opening.incoming.auto_dialect
        )
    except protocols.UnknownDialect as unknown:
        raise Problem("invalid", str(unknown)) from None


def _price(model: str, row: dict[str, Any]) -> Price:
    if row["input_nano"] is None:
        raise Problem("unprocessable", f"The model {model!r} has no price, so it cannot be used.")
    cached = row["cached_input_nano"]
    return Price(row["input_nano"], row["output_nano"], row["input_nano"] if cached is None else cached)


def _settings(model: str, row: dict[str, Any]) -> AgentSettings:
    return AgentSettings(
        system_prompt=row["system_prompt"],
        model=model,
        temperature=row["temperature"],
        top_p=row["top_p"],
        max_output_tokens=row["max_output_tokens"],
        stop_sequences=tuple(row["stop_sequences"]),
        show_reasoning=row["show_reasoning"],
        on_disconnect=row["on_disconnect"],
        disconnect_grace_s=row["disconnect_grace_s"],
        longest_stream_s=row["longest_stream_s"],
    )


async def _messages(turn: Turn, *, continues: bool) -> tuple[ChatMessage, ...]:
    """What the model is asked: the body's messages, after those stored where the body does not bring them all."""
    incoming = turn.opening.incoming
    if incoming.approvals or (incoming.tool_results and not incoming.complete):
        raise Problem("conflict", "Nothing in this conversation waits for an approval or a tool's result.")
    if incoming.complete or not continues:
        return incoming.messages
    rows = await postgres.fetch_all(_HISTORY, [turn.conversation_id, HISTORY, HISTORY_BYTES])
    stored = [
        ChatMessage(row["role"], msgspec.convert(row["parts"], tuple[Part, ...]), row["client_id"]) for row in rows
    ]
    return (*stored, *incoming.messages)
