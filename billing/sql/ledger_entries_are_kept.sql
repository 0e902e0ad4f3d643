-- A ledger entry is never changed or removed, whichever way the statement comes.
CREATE OR REPLACE FUNCTION ledger_entries_are_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'ledger entries are kept for ever; correct % by a new entry', OLD.id
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE OR REPLACE TRIGGER ledger_entries_are_kept
BEFORE UPDATE OR DELETE ON billing_ledgerentry
FOR EACH ROW EXECUTE FUNCTION ledger_entries_are_kept();
