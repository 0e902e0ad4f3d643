"""The ledger's function and the trigger that keeps its entries; the SQL is in billing/sql."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


def run(name: str, undo: str) -> migrations.RunSQL:
    return migrations.RunSQL((SQL / name).read_text(), undo)


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial")]

    operations = [
        run("ledger_apply.sql", "DROP FUNCTION ledger_apply(jsonb)"),
        run(
            "ledger_entries_are_kept.sql",
            "DROP TRIGGER ledger_entries_are_kept ON billing_ledgerentry; DROP FUNCTION ledger_entries_are_kept()",
        ),
    ]
