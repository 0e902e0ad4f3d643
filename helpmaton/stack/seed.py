"""Migrates and seeds the demo in one process, since starting Django is most of the time of either."""

import django
from django.core.management import call_command


def main() -> None:
    """Prints the demo's JSON and nothing else."""
    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    call_command("demo", json=True)


if __name__ == "__main__":
    main()
