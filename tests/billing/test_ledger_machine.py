"""Any order of items, lapses and repetitions, against a model of what the ledger promises.

The model is written from the promises, not from the SQL: a hold is open or closed; closing charges what was used as far
as it can be paid; a lapsed hold is charged from its reading and may be corrected once; an item asked again changes
nothing. After every step the account agrees with the model and the auditor finds the books right.
"""

from dataclasses import dataclass, field

import pytest
from billing import audit, ids, ledger
from billing.ledger import Item, Outcome
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.billing.books import Books, books, lapse, open_account

pytestmark = pytest.mark.django_db

AMOUNT = st.integers(0, 120)


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
    turns = Bundle("turns")
    asked = Bundle("asked")

    @initialize(target=turns, opening=st.integers(0, 400))
    def open(self, opening: int) -> object:
        self.account = open_account(opening)
        self.model = Model(granted=opening)
        return multiple(*(ids.new("turn") for _ in range(5)))

    def ask(self, item: Item) -> Outcome:
        self.model.notice_lapses()
        [outcome] = ledger.apply([item])
        return outcome

    @rule(target=asked, turn=turns, amount=AMOUNT, least=AMOUNT)
    def reserve(self, turn: str, amount: int, least: int) -> Item:
        item = ledger.reserve(account=self.account, turn=turn, amount_nano=amount, least_nano=least)
        outcome, model = self.ask(item), self.model
        if turn in model.holds or turn in model.closed_unseen:
            assert outcome.outcome == "closed"
        elif model.available >= min(least, amount):
            model.holds[turn] = Hold(min(amount, model.available))
            assert (outcome.outcome, outcome.amount) == ("held", model.holds[turn].amount)
        else:
            model.closed_unseen.add(turn)
            assert outcome.outcome == "insufficient"
        return item

    @rule(target=asked, turn=turns, amount=AMOUNT)
    def extend(self, turn: str, amount: int) -> Item:
        item = ledger.extend(account=self.account, turn=turn, amount_nano=amount)
        outcome, hold = self.ask(item), self.model.open_hold(turn)
        if hold is None:
            assert outcome.outcome == "closed"
        elif amount <= self.model.available:
            hold.amount += amount
            assert (outcome.outcome, outcome.amount) == ("held", hold.amount)
        else:
            assert (outcome.outcome, outcome.amount) == ("insufficient", hold.amount)
        return item

    @rule(turn=turns, used=AMOUNT)
    def read(self, turn: str, used: int) -> None:
        outcome = self.ask(ledger.read(account=self.account, turn=turn, used_nano=used))
        hold = self.model.open_hold(turn)
        assert outcome.outcome == ("held" if hold else "closed")
        if hold:
            hold.reading = max(hold.reading, min(used, hold.amount))

    @rule(target=asked, turn=turns, used=AMOUNT, estimated=st.booleans())
    def settle(self, turn: str, used: int, estimated: bool) -> Item:
        item = ledger.settle(account=self.account, turn=turn, used_nano=used, estimated=estimated)
        self.close(item, used, "settled")
        return item

    @rule(target=asked, turn=turns)
    def release(self, turn: str) -> Item:
        item = ledger.release(account=self.account, turn=turn)
        self.close(item, 0, "released")
        return item

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

    @rule(target=asked, amount=st.integers(-300, 300).filter(bool))
    def grant(self, amount: int) -> object:
        item = ledger.grant(account=self.account, amount_nano=amount, reason="any")
        outcome = self.ask(item)
        if self.model.available + amount < 0:
            assert outcome.outcome == "insufficient"
            return multiple()  # nothing is kept of it: asked again it may fit
        assert outcome.outcome == "applied"
        self.model.granted += amount
        return item

    @rule()
    def sweep(self) -> None:
        assert self.ask(ledger.sweep(account=self.account)).outcome == "swept"

    @rule(turn=turns)
    def lease_runs_out(self, turn: str) -> None:
        lapse(turn)
        if turn in self.model.holds:
            self.model.holds[turn].lapsed = True

    @rule(items=st.lists(asked, min_size=1, max_size=4))
    def ask_again(self, items: list[Item]) -> None:
        self.model.notice_lapses()
        for outcome, item in zip(ledger.apply(items), items, strict=True):
            assert outcome.available == self.model.available
            if item.op == "grant":
                assert outcome.outcome == "applied"

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "account"):
            return
        assert books(self.account) == Books(self.model.balance, self.model.held)
        assert 0 <= self.model.held <= self.model.balance
        assert [each for each in audit.violations() if not each.law.startswith("no hold outlives")] == []


def test_any_order_of_items_keeps_the_books(db) -> None:
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
