import pytest
from pathlib import Path
from django.db import connection
from hypothesis import settings, Phase
from tests.billing import test_ledger_machine as m
from hypothesis.stateful import run_state_machine_as_test
from hypothesis import HealthCheck
S=Path("billing/sql/ledger_apply.sql").read_text()
M=[('item.id COLLATE "C" <= hold.extended_by','hold.extended_by = item.id'),
("cover := least(delta, available);","cover := delta;"),
("AND hold.closed_by IS NULL THEN","THEN"),
("cover := least(greatest(item.amount - hold.amount_nano, 0), available);","cover := greatest(item.amount - hold.amount_nano, 0);"),
]
@pytest.mark.parametrize("old,new",M,ids=range(len(M)))
@pytest.mark.filterwarnings("ignore")
def test_mut(db,old,new):
    assert old in S
    with connection.cursor() as c: c.execute(S.replace(old,new))
    with pytest.raises(BaseException) as e:
        run_state_machine_as_test(m.LedgerMachine, settings=settings(max_examples=40,stateful_step_count=50,deadline=None,suppress_health_check=list(HealthCheck),phases=[Phase.generate],database=None))
    print("CAUGHT", repr(e.value)[:200])
