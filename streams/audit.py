"""The auditor of turns: what must be true between a turn and the credits held for it."""

from billing import audit

STATEMENT = """
SELECT 'a turn that has ended holds nothing' AS law, t.workspace_id AS account, t.id AS subject,
       format('ended %s, still holds %s', t.ending, r.amount_nano) AS detail
  FROM streams_turn t JOIN billing_reservation r ON r.turn_id = t.id
 WHERE t.ended_at IS NOT NULL AND r.state = 'pending'
UNION ALL
SELECT 'a turn that runs has a hold', t.workspace_id, t.id,
       format('started at %s, its hold is %s', t.started_at, coalesce(r.state, 'missing'))
  FROM streams_turn t LEFT JOIN billing_reservation r ON r.turn_id = t.id
 WHERE t.ended_at IS NULL AND r.state IS DISTINCT FROM 'pending'
   AND coalesce(r.closed_at, t.started_at) < clock_timestamp() - interval '60 seconds'
UNION ALL
SELECT 'a turn that has ended cost what it was charged', t.workspace_id, t.id,
       format('cost %s, charged %s and adjusted %s', t.cost_nano, r.charged_nano, r.adjusted_nano)
  FROM streams_turn t JOIN billing_reservation r ON r.turn_id = t.id
 WHERE t.ended_at IS NOT NULL AND r.state <> 'pending' AND t.cost_nano <> r.charged_nano + r.adjusted_nano
 ORDER BY 1, 2, 3
"""


def violations() -> list[audit.Violation]:
    """Every law between turns and money that is broken at this moment."""
    return audit.read(STATEMENT)
