"""The fixtures hold what they promise to the other tests."""

import json
import signal
import urllib.request

import pytest
from django.core.management import call_command

from billing.models import ModelPrice, Plan
from helpmaton.stack import web


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("time", ["first", "after the tables were emptied"])
def test_what_migrations_seed_is_there_for_every_transactional_test(time):
    assert {plan.code for plan in Plan.objects.all()} == {"free", "starter", "pro"}
    assert ModelPrice.objects.count() > 10


@pytest.mark.parametrize("server", ["uvicorn", "daphne"])
def test_a_live_server_serves_the_database_of_the_test(live_server_process, server, capsys):
    live = live_server_process(server, HELPMATON_DEMO="1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.conf.settings.DEMO", True)
        call_command("demo", "--json")
    demo = json.loads(capsys.readouterr().out)
    request = urllib.request.Request(
        f"{live.url}/api/workspaces/{demo['workspace_id']}", headers={"Authorization": f"Bearer {demo['api_key']}"}
    )
    with web.direct().open(request) as answer:
        assert json.load(answer)["id"] == demo["workspace_id"]
    live.stop()
    assert not live.is_running()
    assert not web.is_healthy(live.url)


def test_a_live_server_can_be_killed_and_tells_what_it_wrote(live_server_process):
    live = live_server_process()
    live.kill()
    assert live.wait() == -signal.SIGKILL
    assert "startup complete" in live.written()
