"""Plans, subscriptions, credit accounts, holds, ledger entries and prices: the law of money, as constraints.

Only `ledger_apply` (billing/sql) writes accounts, reservations and entries; `billing.ledger` is its door.
"""

from typing import Any, NoReturn

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Concat, Substr
from django.utils import timezone

from billing.ids import PrefixedIdField


class AppendOnly(Exception):
    """Ledger entries are never changed or removed: correct by a new entry."""


def _count(**kwargs: Any) -> models.PositiveIntegerField:
    return models.PositiveIntegerField(validators=[MinValueValidator(1)], **kwargs)


class Plan(models.Model):
    """What a tier may do. Limits count per subscription; staff edit them in the admin."""

    code = models.SlugField(primary_key=True, max_length=32)
    name = models.CharField(max_length=64)
    monthly_price_nano = models.BigIntegerField(default=0, help_text="nano-dollars a month")
    requests_per_second = _count(help_text="refill of the request bucket")
    burst = _count(help_text="size of the request bucket; at least a second's refill")
    concurrent_streams = _count()
    tokens_per_minute = _count(help_text="input and output tokens in any 60 s")
    turns_per_day = _count(help_text="turns in any 24 h")
    longest_stream_s = _count(help_text="seconds until a turn is ended")
    max_workspaces = _count()
    max_agents = _count(help_text="over all workspaces")
    max_members = _count(help_text="over all workspaces")
    max_documents = _count()
    max_documents_mb = _count()
    max_keys = _count(help_text="stream secrets and API keys together")
    max_mcp_servers = _count()
    own_provider_key = models.BooleanField(default=False)
    position = models.PositiveSmallIntegerField(default=0, help_text="order on the price list")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(monthly_price_nano__gte=0), name="a_plan_never_costs_less_than_nothing"),
            models.CheckConstraint(
                condition=Q(requests_per_second__gte=1, concurrent_streams__gte=1, turns_per_day__gte=1),
                name="a_plan_lets_something_through",
            ),
            models.CheckConstraint(
                condition=Q(burst__gte=F("requests_per_second")), name="a_burst_holds_at_least_one_second"
            ),
            models.CheckConstraint(
                condition=Q(longest_stream_s__gte=1, longest_stream_s__lte=3600), name="no_stream_outlives_an_hour"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Subscription(models.Model):
    """A user's plan; everything a plan limits is counted over the subscription's workspaces."""

    id = PrefixedIdField("sub")
    owner = models.OneToOneField("agents.User", on_delete=models.PROTECT, related_name="subscription")
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="subscriptions")
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.id


class CreditAccount(models.Model):
    """A workspace's credits in nano-dollars. `held_nano` is promised to running turns; the rest is available."""

    workspace = models.OneToOneField(
        "agents.Workspace", on_delete=models.PROTECT, primary_key=True, related_name="credit_account"
    )
    balance_nano = models.BigIntegerField(default=0)
    held_nano = models.BigIntegerField(default=0)
    last_entry = models.BigIntegerField(default=0, help_text="number of the newest ledger entry")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(held_nano__gte=0), name="held_credit_is_never_negative"),
            models.CheckConstraint(
                condition=Q(balance_nano__gte=F("held_nano")), name="held_credit_never_exceeds_the_balance"
            ),
        ]

    def __str__(self) -> str:
        return self.workspace_id

    @property
    def available_nano(self) -> int:
        return self.balance_nano - self.held_nano


class Reservation(models.Model):
    """Credits held for one turn; its id is the turn's with another prefix.

    `reading_nano` is what the turn has used so far, `charged_nano` what it was charged when it closed, `adjusted_nano`
    what was corrected after a lapse, `uncovered_nano` what was used but could not be paid. `reserved_by`,
    `extended_by` and `closed_by` are the ids of the items that did it, so that a replay gets the first outcome.
    """

    class State(models.TextChoices):
        PENDING = "pending"  # the turn runs
        SETTLED = "settled"  # pending -> settle
        RELEASED = "released"  # pending -> release; or a tombstone: closed before it was ever reserved
        EXPIRED = "expired"  # pending -> nobody renewed it; charged from its last reading
        REFUSED = "refused"  # never held: there was too little credit

    id = PrefixedIdField("res")
    turn_id = models.CharField(max_length=31, db_collation="C", editable=False)
    account = models.ForeignKey(CreditAccount, on_delete=models.PROTECT, related_name="reservations", db_index=False)
    state = models.CharField(max_length=8, choices=State.choices, default=State.PENDING)
    amount_nano = models.BigIntegerField()
    reading_nano = models.BigIntegerField(default=0)
    charged_nano = models.BigIntegerField(default=0)
    adjusted_nano = models.BigIntegerField(default=0)
    uncovered_nano = models.BigIntegerField(default=0)
    estimated = models.BooleanField(default=False)
    reserved_by = models.CharField(max_length=30, null=True)
    extended_by = models.CharField(max_length=30, null=True)
    extension_fitted = models.BooleanField(null=True)
    closed_by = models.CharField(max_length=30, null=True)
    opened_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(id=Concat(models.Value("res_"), Substr("turn_id", 6))),
                name="a_reservation_bears_the_id_of_its_turn",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["pending", "settled", "released", "expired", "refused"]),
                name="a_reservation_is_in_a_known_state",
            ),
            models.CheckConstraint(
                condition=Q(reading_nano__gte=0, reading_nano__lte=F("amount_nano")),
                name="a_reading_stays_within_its_hold",
            ),
            models.CheckConstraint(
                condition=Q(charged_nano__gte=0, charged_nano__lte=F("amount_nano")),
                name="a_charge_stays_within_its_hold",
            ),
            models.CheckConstraint(condition=Q(uncovered_nano__gte=0), name="what_is_uncovered_is_never_negative"),
            models.CheckConstraint(
                condition=Q(state="pending", closed_at__isnull=True) | ~Q(state="pending") & Q(closed_at__isnull=False),
                name="a_reservation_is_pending_until_it_is_closed",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["settled", "expired"]) | Q(charged_nano=0),
                name="only_a_settled_or_expired_hold_is_charged",
            ),
            models.CheckConstraint(
                condition=Q(adjusted_nano=0) | Q(state="expired"), name="only_an_expired_hold_is_adjusted"
            ),
        ]
        indexes = [
            models.Index(fields=["account", "id"], name="reservations_of_an_account"),
            # Without expires_at, so that renewing a hold stays a heap-only update.
            models.Index(fields=["account"], name="pending_reservations", condition=Q(state="pending")),
        ]

    def __str__(self) -> str:
        return self.id


class LedgerEntry(models.Model):
    """One change of a balance, in nano-dollars, for ever. Numbered without gaps within its account."""

    class Kind(models.TextChoices):
        GRANT = "grant"
        CHARGE = "charge"
        ADJUSTMENT = "adjustment"

    id = PrefixedIdField("led")
    account = models.ForeignKey(CreditAccount, on_delete=models.PROTECT, related_name="entries", db_index=False)
    number = models.BigIntegerField()
    kind = models.CharField(max_length=10, choices=Kind.choices)
    amount_nano = models.BigIntegerField()
    balance_after_nano = models.BigIntegerField()
    reservation = models.ForeignKey(
        Reservation, on_delete=models.PROTECT, null=True, related_name="entries", db_index=False
    )
    reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "ledger entries"
        constraints = [
            models.UniqueConstraint(fields=["account", "number"], name="entries_of_an_account_are_numbered_once"),
            models.CheckConstraint(condition=~Q(amount_nano=0), name="an_entry_changes_something"),
            models.CheckConstraint(condition=Q(balance_after_nano__gte=0), name="a_balance_is_never_negative"),
            models.CheckConstraint(
                condition=Q(kind__in=["grant", "charge", "adjustment"]), name="an_entry_is_of_a_known_kind"
            ),
            models.CheckConstraint(
                condition=~Q(kind="charge") | Q(amount_nano__lt=0, reservation__isnull=False),
                name="a_charge_takes_credit_for_a_turn",
            ),
        ]

    def __str__(self) -> str:
        return self.id

    def save(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnly("ledger entries are written by ledger_apply alone")

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnly("ledger entries are kept for ever; correct them by a new entry")


class ModelPrice(models.Model):
    """What a model costs from `valid_from` on, in nano-dollars per million tokens. The newest valid row counts."""

    model = models.CharField(max_length=200)
    input_nano = models.BigIntegerField()
    output_nano = models.BigIntegerField()
    cached_input_nano = models.BigIntegerField(null=True, blank=True, help_text="the price of input where empty")
    valid_from = models.DateTimeField(default=timezone.now)
    source = models.CharField(max_length=64, default="manual")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["model", "valid_from"], name="a_model_has_one_price_at_a_time"),
            models.CheckConstraint(
                condition=Q(input_nano__gte=0, output_nano__gte=0), name="a_price_is_never_negative"
            ),
            models.CheckConstraint(
                condition=Q(cached_input_nano__isnull=True)
                | Q(cached_input_nano__gte=0, cached_input_nano__lte=F("input_nano")),
                name="cached_input_never_costs_more_than_input",
            ),
        ]

    def __str__(self) -> str:
        return self.model
