"""Any order of items, lapses and repetitions, against a model of what the ledger promises.

The model is written from the promises, not from the SQL: a hold is open or closed; closing charges what was used as far
as it can be paid; a lapsed hold is charged from its reading and may be corrected once; an item asked again changes
nothing. After every step the account agrees with the model and the auditor finds the books right.
"""

from dataclasses import dataclass, field

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from billing import audit, ids, ledger
from billing.ledger import Item, Outcome
from tests.billing.books import Books, books, lapse, open_account

pytestmark = pytest.mark.django_db

AMOUNT = st.integers(0, 150)
TURN = st.sampled_from([0, 0, 0, 1])  # the newest or the one before: most steps meet a turn in the middle of something


@dataclass
class Hold:
    """What the model knows of a turn."""

    amount: int
    reading: int = 0
    charged: int = 0
    is_open: bool = True
    lapsed: bool = False  # its lease has run out, nobody has noticed yet
    correctable: bool = False  # charged from its reading; its turn has not settled it yet


@dataclass
class Model:
    granted: int = 0
    holds: dict[str, Hold] = field(default_factory=dict)
    closed_unseen: set[str] = field(default_factory=set)

    @property
    def balance(self) -> int:
        return self.granted - sum(hold.charged for hold in self.holds.values())

    @property
    def held(self) -> int:
        return sum(hold.amount for hold in self.holds.values() if hold.is_open)

    @property
    def available(self) -> int:
        return self.balance - self.held

    def notice_lapses(self) -> None:
        for hold in self.holds.values():
            if hold.is_open and hold.lapsed:
                hold.is_open, hold.charged, hold.correctable = False, hold.reading, True

    def open_hold(self, turn: str) -> Hold | None:
        hold = self.holds.get(turn)
        return hold if hold and hold.is_open else None


class LedgerMachine(RuleBasedStateMachine):
    @initialize(opening=st.integers(0, 200))
    def open(self, opening: int) -> None:
        self.account = open_account(opening)
        self.model = Model(granted=opening)
        self.turns = [ids.new("turn"), ids.new("turn")]  # may be closed before they are ever reserved
        self.asked: list[Item] = []

    def ask(self, item: Item) -> Outcome:
        self.model.notice_lapses()
        with transaction.atomic():  # a failing step must not spoil the steps that look for a shorter one
            [outcome] = ledger.apply([item])
        if item.op not in ("read", "sweep") and (item.op, outcome.outcome) != ("grant", "insufficient"):
            self.asked.append(item)  # of a refused grant nothing is kept: asked again it may fit
        return outcome

    @rule(again=st.sampled_from([False, False, False, True]), amount=AMOUNT, least=AMOUNT)
    def reserve(self, again: bool, amount: int, least: int) -> None:
        if not again:
            self.turns.append(ids.new("turn"))
        turn, model = self.turns[-1], self.model
        outcome = self.ask(ledger.reserve(account=self.account, turn=turn, amount_nano=amount, least_nano=least))
        if turn in model.holds or turn in model.closed_unseen:
            assert outcome.outcome == "closed"
        elif model.available >= min(least, amount):
            model.holds[turn] = Hold(min(amount, model.available))
            assert (outcome.outcome, outcome.amount) == ("held", model.holds[turn].amount)
        else:
            model.closed_unseen.add(turn)
            assert outcome.outcome == "insufficient"

    @rule(newest=TURN, amount=AMOUNT)
    def extend(self, newest: int, amount: int) -> None:
        turn = self.turns[-1 - newest]
        outcome = self.ask(ledger.extend(account=self.account, turn=turn, amount_nano=amount))
        hold = self.model.open_hold(turn)
        if hold is None:
            assert outcome.outcome == "closed"
        elif amount <= self.model.available:
            hold.amount += amount
            assert (outcome.outcome, outcome.amount) == ("held", hold.amount)
        else:
            assert (outcome.outcome, outcome.amount) == ("insufficient", hold.amount)

    @rule(newest=TURN, used=AMOUNT)
    def read(self, newest: int, used: int) -> None:
        turn = self.turns[-1 - newest]
        outcome = self.ask(ledger.read(account=self.account, turn=turn, used_nano=used))
        hold = self.model.open_hold(turn)
        assert outcome.outcome == ("held" if hold else "closed")
        if hold:
            hold.reading = max(hold.reading, min(used, hold.amount))

    @rule(newest=TURN, used=AMOUNT, estimated=st.booleans())
    def settle(self, newest: int, used: int, estimated: bool) -> None:
        turn = self.turns[-1 - newest]
        item = ledger.settle(account=self.account, turn=turn, used_nano=used, estimated=estimated)
        self.close(item, used, "settled")

    @rule(newest=TURN)
    def release(self, newest: int) -> None:
        self.close(ledger.release(account=self.account, turn=self.turns[-1 - newest]), 0, "released")

    def close(self, item: Item, used: int, done: str) -> None:
        outcome, model = self.ask(item), self.model
        hold = model.holds.get(item.turn)
        if hold is None:
            model.closed_unseen.add(item.turn)
            assert outcome.outcome == "closed"
        elif hold.is_open:
            hold.charged, hold.is_open = min(used, hold.amount + model.available), False
            assert (outcome.outcome, outcome.charged, outcome.uncovered) == (done, hold.charged, used - hold.charged)
        elif hold.correctable:
            hold.charged, hold.correctable = min(used, hold.charged + model.available), False
            assert (outcome.outcome, outcome.charged, outcome.uncovered) == (
                "adjusted",
                hold.charged,
                used - hold.charged,
            )
        else:
            assert (outcome.outcome, outcome.charged) == ("closed", hold.charged)

    @rule(amount=st.integers(-150, 150).filter(bool))
    def grant(self, amount: int) -> None:
        outcome = self.ask(ledger.grant(account=self.account, amount_nano=amount, reason="any"))
        if self.model.available + amount < 0:
            assert outcome.outcome == "insufficient"
        else:
            assert outcome.outcome == "applied"
            self.model.granted += amount

    @rule()
    def sweep(self) -> None:
        assert self.ask(ledger.sweep(account=self.account)).outcome == "swept"

    @rule(newest=TURN, used=AMOUNT)
    def lease_runs_out(self, newest: int, used: int) -> None:
        self.read(newest, used)
        turn = self.turns[-1 - newest]
        lapse(turn)
        if turn in self.model.holds:
            self.model.holds[turn].lapsed = True

    @rule(newest=st.lists(st.integers(0, 4), min_size=1, max_size=4))
    def ask_again(self, newest: list[int]) -> None:
        items = [self.asked[-1 - each] for each in newest if each < len(self.asked)]
        self.model.notice_lapses()
        with transaction.atomic():
            outcomes = ledger.apply(items)
        for outcome, item in zip(outcomes, items, strict=True):
            assert outcome.available == self.model.available
            if item.op == "grant":
                assert outcome.outcome == "applied"

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "account"):
            return
        assert books(self.account) == Books(self.model.balance, self.model.held)
        assert 0 <= self.model.held <= self.model.balance
        found = [each for each in audit.violations() if each.account == self.account]
        assert [each for each in found if each.law != "no hold outlives its lease by a minute"] == []


def test_any_order_of_items_keeps_the_books(db) -> None:
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=40, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
