"""Migrates the benchmark's database and makes what is measured: the demo's agent on a scripted model, and credit.

A process of its own, because Django reads its settings once. Prints one JSON object.
"""

import json
from io import StringIO

import django
from django.core.management import call_command

MODEL = "scripted/echo"
CREDIT_USD = "100000"
LEDGER_ACCOUNTS = ("door", "orm", "pgbench", "pgbench_kept")


def main() -> None:
    """`path` is the agent's stream path with its secret; `accounts` are workspaces for the ledger's contenders."""
    django.setup()
    from agents.models import Agent, Workspace
    from billing.models import CreditAccount

    quiet = StringIO()
    call_command("migrate", verbosity=0, interactive=False)
    call_command("demo", json=True, stdout=quiet)
    demo = json.loads(quiet.getvalue())
    call_command("set_price", MODEL, input="0.1", output="0.4", stdout=quiet)
    call_command("grant_credits", demo["workspace_id"], CREDIT_USD, stdout=quiet)
    Agent.objects.filter(id=demo["agent_id"]).update(model=MODEL, max_output_tokens=4096)
    subscription = Workspace.objects.get(id=demo["workspace_id"]).subscription
    accounts = {}
    for name in LEDGER_ACCOUNTS:
        workspace = Workspace.objects.create(name=f"hot account of {name}", subscription=subscription)
        CreditAccount.objects.create(workspace=workspace)
        call_command("grant_credits", workspace.id, CREDIT_USD, stdout=quiet)
        accounts[name] = workspace.id
    path = f"/api/streams/{demo['workspace_id']}/{demo['agent_id']}/{demo['stream_secret']}"
    print(json.dumps({"path": path, "agent": demo["agent_id"], "accounts": accounts}))


if __name__ == "__main__":
    main()
