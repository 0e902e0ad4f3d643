-- Everything the books must satisfy, recomputed from the entries; a row for each violation. One statement, so that it
-- sees one moment even while turns run.
WITH entry AS (
    SELECT e.*, sum(e.amount_nano) OVER so_far AS balance_due, row_number() OVER so_far AS number_due
      FROM billing_ledgerentry e
    WINDOW so_far AS (PARTITION BY e.account_id ORDER BY e.number)
), books AS (
    SELECT account_id, sum(amount_nano) AS balance, max(number) AS last_entry FROM entry GROUP BY account_id
), holds AS (
    SELECT account_id, sum(amount_nano) AS held FROM billing_reservation WHERE state = 'pending' GROUP BY account_id
), charges AS (
    SELECT reservation_id, -sum(amount_nano) AS charged FROM entry WHERE reservation_id IS NOT NULL
     GROUP BY reservation_id
)
SELECT 'the balance is the sum of the entries' AS law, a.workspace_id AS account, a.workspace_id AS subject,
       format('balance %s, entries %s', a.balance_nano, coalesce(b.balance, 0)) AS detail
  FROM billing_creditaccount a LEFT JOIN books b ON b.account_id = a.workspace_id
 WHERE a.balance_nano <> coalesce(b.balance, 0)
UNION ALL
SELECT 'what is held is the sum of the pending holds', a.workspace_id, a.workspace_id,
       format('held %s, pending holds %s', a.held_nano, coalesce(h.held, 0))
  FROM billing_creditaccount a LEFT JOIN holds h ON h.account_id = a.workspace_id
 WHERE a.held_nano <> coalesce(h.held, 0)
UNION ALL
SELECT 'what is held never exceeds the balance', workspace_id, workspace_id,
       format('balance %s, held %s', balance_nano, held_nano)
  FROM billing_creditaccount
 WHERE held_nano < 0 OR held_nano > balance_nano
UNION ALL
SELECT 'the account knows its last entry', a.workspace_id, a.workspace_id,
       format('last entry %s, newest number %s', a.last_entry, coalesce(b.last_entry, 0))
  FROM billing_creditaccount a LEFT JOIN books b ON b.account_id = a.workspace_id
 WHERE a.last_entry <> coalesce(b.last_entry, 0)
UNION ALL
SELECT 'entries are numbered without gaps', account_id, id, format('number %s, expected %s', number, number_due)
  FROM entry
 WHERE number <> number_due
UNION ALL
SELECT 'an entry states the balance after it', account_id, id,
       format('balance after %s, expected %s', balance_after_nano, balance_due)
  FROM entry
 WHERE balance_after_nano <> balance_due
UNION ALL
SELECT 'a hold was charged what its entries took', r.account_id, r.id,
       format('%s: charged %s and adjusted %s, entries %s', r.state, r.charged_nano, r.adjusted_nano,
              coalesce(c.charged, 0))
  FROM billing_reservation r LEFT JOIN charges c ON c.reservation_id = r.id
 WHERE r.charged_nano + r.adjusted_nano <> coalesce(c.charged, 0)
UNION ALL
SELECT 'an entry and its hold are of one account', e.account_id, e.id, format('the hold is of %s', r.account_id)
  FROM entry e JOIN billing_reservation r ON r.id = e.reservation_id
 WHERE r.account_id <> e.account_id
UNION ALL
SELECT 'no hold outlives its lease by a minute', account_id, id, format('expired at %s', expires_at)
  FROM billing_reservation
 WHERE state = 'pending' AND expires_at < clock_timestamp() - interval '60 seconds'
UNION ALL
SELECT 'entries cannot be changed', NULL, 'billing_ledgerentry', 'the trigger ledger_entries_are_kept is missing or off'
 WHERE NOT EXISTS (SELECT FROM pg_trigger t
                    WHERE t.tgrelid = 'billing_ledgerentry'::regclass AND t.tgname = 'ledger_entries_are_kept'
                      AND t.tgenabled IN ('O', 'A'))
 ORDER BY 1, 2, 3
