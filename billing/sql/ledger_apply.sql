-- The only writer of money. Locks the accounts its items name, in id order; settles their lapsed holds from the last
-- reading; then applies the items one after another, each with an outcome of its own, returned in the items' order.
--
-- An item: {op, id, account, turn, amount, least, kind, reason, estimated}. `id` (led_…) is made by the caller: asked
-- again with the same id, an item answers what it answered first and changes nothing. Amounts are nano-dollars.
--   reserve  holds `amount`, or as much of it as there is if that is at least `least`
--   extend   adds `amount` to the hold
--   read     notes `amount` as used so far and renews the hold
--   settle   charges `amount` used in all, beyond the hold as far as credit is available; the rest is uncovered
--   release  closes the hold, charging nothing
--   grant    adds `amount` (takes it, if negative, never below what is held) as an entry of `kind`
--   sweep    nothing more than settling the account's lapsed holds
-- Outcomes: held, insufficient, closed, settled, adjusted, released, applied, swept, unknown_account.
CREATE OR REPLACE FUNCTION ledger_apply(items jsonb)
RETURNS TABLE (outcome text, amount bigint, charged bigint, uncovered bigint, available bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    lease constant interval := interval '15 seconds';
    now_at timestamptz;
    ids text[];
    balances bigint[];
    helds bigint[];
    numbers bigint[];
    item record;
    hold billing_reservation%ROWTYPE;
    a int;
    cover bigint;
    delta bigint;
BEGIN
    -- Lock first, read after: what these statements see is what is true until commit.
    SELECT array_agg(locked.workspace_id), array_agg(locked.balance_nano), array_agg(locked.held_nano),
           array_agg(locked.last_entry)
      INTO ids, balances, helds, numbers
      FROM (SELECT account.workspace_id, account.balance_nano, account.held_nano, account.last_entry
              FROM billing_creditaccount account
             WHERE account.workspace_id IN (SELECT element ->> 'account' FROM jsonb_array_elements(items) element)
             ORDER BY account.workspace_id
               FOR NO KEY UPDATE) locked;
    now_at := clock_timestamp();

    FOR hold IN
        SELECT * FROM billing_reservation r
         WHERE r.account_id = ANY (ids) AND r.state = 'pending' AND r.expires_at <= now_at
         ORDER BY r.id
    LOOP
        a := array_position(ids, hold.account_id::text);
        helds[a] := helds[a] - hold.amount_nano;
        UPDATE billing_reservation r
           SET state = 'expired', charged_nano = hold.reading_nano, estimated = true, closed_at = now_at
         WHERE r.id = hold.id;
        IF hold.reading_nano > 0 THEN
            balances[a] := balances[a] - hold.reading_nano;
            numbers[a] := numbers[a] + 1;
            INSERT INTO billing_ledgerentry (id, account_id, number, kind, amount_nano, balance_after_nano,
                                             reservation_id, reason, created_at)
            VALUES ('led_' || substr(hold.id, 5), hold.account_id, numbers[a], 'charge', -hold.reading_nano,
                    balances[a], hold.id, 'hold lapsed; charged from the last reading', now_at);
        END IF;
    END LOOP;

    FOR item IN
        SELECT * FROM jsonb_to_recordset(items) AS fields (
            op text, id text, account text, turn text, amount bigint, least bigint, kind text, reason text,
            estimated boolean)
    LOOP
        outcome := 'unknown_account';
        amount := 0;
        charged := 0;
        uncovered := 0;
        available := 0;
        a := array_position(ids, item.account);
        IF a IS NULL THEN
            RETURN NEXT;
            CONTINUE;
        END IF;
        hold := NULL;
        IF item.turn IS NOT NULL THEN
            SELECT * INTO hold FROM billing_reservation r
             WHERE r.id = 'res_' || substr(item.turn, 6) AND r.account_id = item.account;
        END IF;
        available := balances[a] - helds[a];
        IF item.amount IS NULL AND item.op <> 'sweep' THEN
            RAISE EXCEPTION 'a % needs an amount', item.op USING ERRCODE = 'check_violation';
        END IF;

        CASE item.op
        WHEN 'reserve' THEN
            IF item.amount < 0 OR item.least < 0 THEN
                RAISE EXCEPTION 'a hold of % is not possible', item.amount USING ERRCODE = 'check_violation';
            END IF;
            IF hold.id IS NULL THEN
                cover := least(item.amount, available);
                outcome := CASE WHEN cover >= least(coalesce(item.least, item.amount), item.amount)
                                THEN 'held' ELSE 'insufficient' END;
                amount := CASE outcome WHEN 'held' THEN cover ELSE 0 END;
                helds[a] := helds[a] + amount;
                INSERT INTO billing_reservation (
                    id, turn_id, account_id, state, amount_nano, reading_nano, charged_nano, adjusted_nano,
                    uncovered_nano, estimated, reserved_by, opened_at, expires_at, closed_at)
                VALUES ('res_' || substr(item.turn, 6), item.turn, item.account,
                        CASE outcome WHEN 'held' THEN 'pending' ELSE 'refused' END, amount, 0, 0, 0, 0, false,
                        item.id, now_at, now_at + lease, CASE outcome WHEN 'held' THEN NULL ELSE now_at END);
            ELSIF hold.reserved_by = item.id THEN
                outcome := CASE hold.state WHEN 'refused' THEN 'insufficient'
                                           WHEN 'pending' THEN 'held' ELSE 'closed' END;
                amount := hold.amount_nano;
            ELSE
                outcome := 'closed';
            END IF;

        WHEN 'extend' THEN
            IF item.amount < 0 THEN
                RAISE EXCEPTION 'a hold is not extended by %', item.amount USING ERRCODE = 'check_violation';
            END IF;
            outcome := 'closed';
            IF hold.state = 'pending' AND item.id COLLATE "C" <= hold.extended_by THEN
                -- Asked before. A turn extends its hold one step after another with ever later ids, so an earlier
                -- one was answered long ago and must not be added again.
                outcome := CASE WHEN hold.extension_fitted OR item.id <> hold.extended_by THEN 'held'
                                ELSE 'insufficient' END;
                amount := hold.amount_nano;
            ELSIF hold.state = 'pending' THEN
                outcome := CASE WHEN item.amount <= available THEN 'held' ELSE 'insufficient' END;
                delta := CASE outcome WHEN 'held' THEN item.amount ELSE 0 END;
                helds[a] := helds[a] + delta;
                amount := hold.amount_nano + delta;
                UPDATE billing_reservation r
                   SET amount_nano = hold.amount_nano + delta, extended_by = item.id,
                       extension_fitted = (outcome = 'held')
                 WHERE r.id = hold.id;
            END IF;

        WHEN 'read' THEN
            outcome := 'closed';
            IF hold.state = 'pending' THEN
                outcome := 'held';
                amount := hold.amount_nano;
                UPDATE billing_reservation r
                   SET reading_nano = greatest(hold.reading_nano, least(item.amount, hold.amount_nano)),
                       expires_at = now_at + lease
                 WHERE r.id = hold.id;
            END IF;

        WHEN 'settle', 'release' THEN
            IF item.amount < 0 OR item.op = 'release' AND item.amount > 0 THEN
                RAISE EXCEPTION 'a turn is not charged %', item.amount USING ERRCODE = 'check_violation';
            END IF;
            IF hold.id IS NULL THEN
                -- A tombstone: should the reserve still arrive, it finds the turn closed.
                INSERT INTO billing_reservation (
                    id, turn_id, account_id, state, amount_nano, reading_nano, charged_nano, adjusted_nano,
                    uncovered_nano, estimated, closed_by, opened_at, expires_at, closed_at)
                VALUES ('res_' || substr(item.turn, 6), item.turn, item.account, 'released', 0, 0, 0, 0,
                        item.amount, coalesce(item.estimated, false), item.id, now_at, now_at, now_at);
                outcome := 'closed';
                uncovered := item.amount;
            ELSIF hold.closed_by = item.id THEN
                outcome := CASE hold.state WHEN 'settled' THEN 'settled' WHEN 'expired' THEN 'adjusted'
                                           ELSE CASE WHEN hold.reserved_by IS NULL THEN 'closed' ELSE 'released' END END;
                charged := hold.charged_nano + hold.adjusted_nano;
                uncovered := hold.uncovered_nano;
            ELSIF hold.state = 'pending' THEN
                cover := least(greatest(item.amount - hold.amount_nano, 0), available);
                charged := least(item.amount, hold.amount_nano + cover);
                uncovered := item.amount - charged;
                helds[a] := helds[a] - hold.amount_nano;
                outcome := CASE item.op WHEN 'settle' THEN 'settled' ELSE 'released' END;
                UPDATE billing_reservation r
                   SET state = outcome, amount_nano = hold.amount_nano + cover, reading_nano = charged,
                       charged_nano = charged, uncovered_nano = uncovered,
                       estimated = coalesce(item.estimated, false), closed_by = item.id, closed_at = now_at
                 WHERE r.id = hold.id;
                IF charged > 0 THEN
                    balances[a] := balances[a] - charged;
                    numbers[a] := numbers[a] + 1;
                    INSERT INTO billing_ledgerentry (id, account_id, number, kind, amount_nano, balance_after_nano,
                                                     reservation_id, reason, created_at)
                    VALUES ('led_' || substr(hold.id, 5), item.account, numbers[a], 'charge', -charged, balances[a],
                            hold.id, coalesce(item.reason, ''), now_at);
                END IF;
            ELSIF hold.state = 'expired' AND hold.closed_by IS NULL THEN
                -- The turn outlived its hold: what it used beyond (or below) the last reading is one adjusting entry.
                delta := item.amount - hold.charged_nano;
                cover := least(delta, available);
                charged := hold.charged_nano + cover;
                uncovered := delta - cover;
                outcome := 'adjusted';
                UPDATE billing_reservation r
                   SET adjusted_nano = cover, uncovered_nano = uncovered, closed_by = item.id,
                       estimated = coalesce(item.estimated, false)
                 WHERE r.id = hold.id;
                IF cover <> 0 THEN
                    balances[a] := balances[a] - cover;
                    numbers[a] := numbers[a] + 1;
                    INSERT INTO billing_ledgerentry (id, account_id, number, kind, amount_nano, balance_after_nano,
                                                     reservation_id, reason, created_at)
                    VALUES (item.id, item.account, numbers[a], 'adjustment', -cover, balances[a], hold.id,
                            'settled after the hold had lapsed', now_at);
                END IF;
            ELSE
                outcome := 'closed';
                charged := hold.charged_nano + hold.adjusted_nano;
                uncovered := hold.uncovered_nano;
            END IF;

        WHEN 'grant' THEN
            IF EXISTS (SELECT FROM billing_ledgerentry e WHERE e.id = item.id) THEN
                outcome := 'applied';
            ELSIF available + item.amount < 0 THEN
                outcome := 'insufficient';
            ELSE
                outcome := 'applied';
                balances[a] := balances[a] + item.amount;
                numbers[a] := numbers[a] + 1;
                INSERT INTO billing_ledgerentry (id, account_id, number, kind, amount_nano, balance_after_nano,
                                                 reservation_id, reason, created_at)
                VALUES (item.id, item.account, numbers[a], item.kind, item.amount, balances[a], NULL,
                        coalesce(item.reason, ''), now_at);
            END IF;

        WHEN 'sweep' THEN
            outcome := 'swept';
        END CASE;
        available := balances[a] - helds[a];
        RETURN NEXT;
    END LOOP;

    UPDATE billing_creditaccount account
       SET balance_nano = fresh.balance, held_nano = fresh.held, last_entry = fresh.number
      FROM unnest(ids, balances, helds, numbers) AS fresh (workspace, balance, held, number)
     WHERE account.workspace_id = fresh.workspace
       AND (account.balance_nano, account.held_nano, account.last_entry)
           IS DISTINCT FROM (fresh.balance, fresh.held, fresh.number);
END
$$;
