"""What models cost, from the price list the product ships with; staff change prices by adding newer ones."""

from datetime import UTC, datetime

from django.db import migrations

from billing import catalogue

VALID_FROM = datetime(2026, 1, 1, tzinfo=UTC)


def seed(apps, schema_editor) -> None:
    price = apps.get_model("billing", "ModelPrice")
    rows = [price(**row._asdict(), valid_from=VALID_FROM) for row in catalogue.listed()]
    price.objects.bulk_create(rows, ignore_conflicts=True)


class Migration(migrations.Migration):
    dependencies = [("billing", "0003_seeded_plans")]

    operations = [migrations.RunPython(seed, migrations.RunPython.noop)]
