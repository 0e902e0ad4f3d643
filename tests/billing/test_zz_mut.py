import pytest
from pathlib import Path
from django.db import connection
from tests.billing import test_ledger_machine as m
S=Path("billing/sql/ledger_apply.sql").read_text()
M=[('item.id COLLATE "C" <= hold.extended_by','hold.extended_by = item.id'),
("helds[a] := helds[a] - hold.amount_nano;\n        UPDATE","UPDATE"),
("cover := least(delta, available);","cover := delta;"),
("AND hold.closed_by IS NULL THEN","THEN"),
("greatest(hold.reading_nano, least(item.amount, hold.amount_nano))","least(item.amount, hold.amount_nano)"),
("cover := least(item.amount, available);","cover := item.amount;"),
("numbers[a] := numbers[a] + 1;","numbers[a] := numbers[a] + 2;"),
]
@pytest.mark.parametrize("old,new",M,ids=range(len(M)))
@pytest.mark.filterwarnings("ignore")
def test_mut(db,old,new):
    assert old in S
    with connection.cursor() as c: c.execute(S.replace(old,new))
    with pytest.raises(BaseException) as e:
        m.test_any_order_of_items_keeps_the_books(None)
    print("CAUGHT", repr(e.value)[:300])
