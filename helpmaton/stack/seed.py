"""Migrates and seeds the demo in one process, since starting Django is most of the time of either."""

import django
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor


def _unapplied() -> bool:
    """Whether there is anything to migrate; the command itself takes a second even where there is not."""
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def main() -> None:
    """Prints the demo's JSON and nothing else."""
    django.setup()
    if _unapplied():
        call_command("migrate", verbosity=0, interactive=False)
    call_command("demo", json=True)


if __name__ == "__main__":
    main()
