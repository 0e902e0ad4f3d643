"""The rows of conversations, turns and messages, as riders of the ledger's round trips. Each is safe to run twice."""

from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from billing.door import Rider
from streams.endings import Ending
from streams.messages import ChatMessage
from streams.turn import Turn, message_id

_OPENING = """
WITH made AS (
    INSERT INTO streams_conversation (id, workspace_id, agent_id, scope, chat_id, created_at, updated_at)
    VALUES (%(conversation)s, %(workspace)s, %(agent)s, %(scope)s, %(chat)s, now(), now())
    ON CONFLICT DO NOTHING
    RETURNING id
), conversation AS (
    -- One made meanwhile elsewhere for the same chat is seen here: the account's lock put that commit before us.
    SELECT id FROM made
    UNION ALL
    (SELECT id FROM streams_conversation
      WHERE (id = %(conversation)s OR agent_id = %(agent)s AND scope = %(scope)s AND chat_id = %(chat)s)
        AND NOT EXISTS (SELECT FROM made)
      ORDER BY id <> %(conversation)s
      LIMIT 1)
), turn AS (
    INSERT INTO streams_turn (id, workspace_id, agent_id, conversation_id, model, simulated, request_id, input_tokens,
                              output_tokens, reasoning_tokens, cached_input_tokens, estimated, cost_nano, started_at)
    SELECT %(turn)s, %(workspace)s, %(agent)s, conversation.id, %(model)s, %(simulated)s, %(request)s,
           0, 0, 0, 0, false, 0, now()
      FROM conversation
    ON CONFLICT (id) DO NOTHING
    RETURNING id, conversation_id
)
INSERT INTO streams_message (id, conversation_id, turn_id, role, parts, client_id, created_at)
SELECT asked.id, turn.conversation_id, turn.id, asked.role, asked.parts, asked.client_id, now()
  FROM turn, jsonb_to_recordset(%(messages)s) AS asked (id text, role text, parts jsonb, client_id text)
ON CONFLICT DO NOTHING
"""

_CLOSING = """
WITH turn AS (
    UPDATE streams_turn
       SET ending = %(ending)s, finish_reason = %(finish_reason)s, input_tokens = %(input)s, output_tokens = %(output)s,
           reasoning_tokens = %(reasoning)s, cached_input_tokens = %(cached)s, estimated = %(estimated)s,
           cost_nano = COALESCE((SELECT charged_nano + adjusted_nano FROM billing_reservation
                                  WHERE id = 'res_' || substr(%(turn)s, 6)), 0),
           ended_at = now()
     WHERE id = %(turn)s
 RETURNING id, conversation_id
), conversation AS (
    UPDATE streams_conversation SET updated_at = now() WHERE id IN (SELECT conversation_id FROM turn)
)
INSERT INTO streams_message (id, conversation_id, turn_id, role, parts, created_at)
SELECT %(message)s, turn.conversation_id, turn.id, 'assistant', %(parts)s::jsonb, now()
  FROM turn
 WHERE %(parts)s::jsonb IS NOT NULL
ON CONFLICT DO NOTHING
"""


def opening(turn: Turn) -> Rider:
    """The conversation, the turn and what was asked; goes with the reserve."""
    assert turn.agent is not None
    assert turn.provider is not None
    return Rider(
        _OPENING,
        {
            "conversation": turn.conversation_id,
            "workspace": turn.workspace_id,
            "agent": turn.opening.agent_id,
            "scope": turn.opening.caller.scope,
            "chat": turn.opening.chat_id,
            "turn": turn.id,
            "model": turn.agent.model,
            "simulated": turn.provider.simulated,
            "request": turn.opening.request_id,
            "messages": Jsonb(_asked(turn)),
        },
    )


def closing(turn: Turn, ending: Ending) -> Rider:
    """How the turn ended and what was answered; goes with the settle, and reads there what was charged."""
    usage = turn.meter.total if turn.meter is not None else None
    text = turn.log.text()
    return Rider(
        _CLOSING,
        {
            "turn": turn.id,
            "ending": ending.code,
            "finish_reason": ending.finish_reason,
            "input": usage.input_tokens if usage else 0,
            "output": usage.output_tokens if usage else 0,
            "reasoning": usage.reasoning_tokens if usage else 0,
            "cached": usage.cached_input_tokens if usage else 0,
            "estimated": usage.estimated if usage else False,
            "message": turn.message_id,
            "parts": Jsonb([{"type": "text", "text": text.replace("\0", "")}]) if text else None,
        },
    )


def _asked(turn: Turn) -> list[dict[str, Any]]:
    """The messages since the model last spoke: what came before was kept with the turns it belonged to."""
    messages = turn.opening.incoming.messages
    spoken = max((i for i, message in enumerate(messages) if message.role == "assistant"), default=-1)
    return [_row(turn, position, message) for position, message in enumerate(messages[spoken + 1 :])]


def _row(turn: Turn, position: int, message: ChatMessage) -> dict[str, Any]:
    return {
        "id": message_id(turn.id, f"{position:03d}"),
        "role": message.role,
        "parts": msgspec.to_builtins(message.parts),
        "client_id": message.client_id,
    }
