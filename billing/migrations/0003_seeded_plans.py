"""The three plans as they are sold; staff may edit them afterwards."""

from django.db import migrations

USD = 1_000_000_000
COLUMNS = (
    "code name monthly_price_nano requests_per_second burst concurrent_streams tokens_per_minute turns_per_day "
    "longest_stream_s max_workspaces max_agents max_members max_documents max_documents_mb max_keys max_mcp_servers "
    "own_provider_key position"
).split()
PLANS = [
    ("free", "Free", 0, 100, 200, 5, 50_000, 25, 300, 1, 1, 1, 10, 1, 5, 2, False, 1),
    ("starter", "Starter", 29 * USD, 500, 1_000, 50, 500_000, 3_000, 900, 1, 5, 3, 100, 10, 25, 10, True, 2),
    ("pro", "Pro", 99 * USD, 2_000, 4_000, 500, 5_000_000, 10_000, 3_600, 5, 50, 25, 1_000, 100, 250, 50, True, 3),
]


def seed(apps, schema_editor) -> None:
    plan = apps.get_model("billing", "Plan")
    plan.objects.bulk_create([plan(**dict(zip(COLUMNS, row, strict=True))) for row in PLANS], ignore_conflicts=True)


class Migration(migrations.Migration):
    dependencies = [("billing", "0002_ledger_functions")]

    operations = [migrations.RunPython(seed, migrations.RunPython.noop)]
