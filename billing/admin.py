"""Staff's view of money: plans and prices are edited, credits are granted with a reason, the ledger is only read."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextInputWidget

from billing import ids, ledger, money
from billing.models import CreditAccount, LedgerEntry, ModelPrice, Plan, Reservation, Subscription

LARGEST_GRANT_NANO = 1_000_000 * money.NANO


class UsdField(forms.CharField):
    """US dollars as people write them, nano-dollars as they are stored."""

    widget = UnfoldAdminTextInputWidget

    def prepare_value(self, value: object) -> object:
        return money.usd(value) if isinstance(value, int) else value

    def to_python(self, value: object) -> int | None:
        text = super().to_python(value)
        if text in self.empty_values:
            return None
        try:
            return money.parse_usd(text)
        except money.NotMoney as problem:
            raise forms.ValidationError(str(problem), code="invalid") from None

    def has_changed(self, initial: object, data: object) -> bool:
        return super().has_changed(self.prepare_value(initial), data)


def usd_column(field: str, heading: str, *, stored: bool = True) -> Callable[[Model], str]:
    """A column that shows nano-dollars as US dollars; what is not `stored` cannot be sorted by."""

    @admin.display(description=heading, ordering=field if stored else None)
    def column(row: Model) -> str:
        nano = getattr(row, field)
        return "" if nano is None else money.usd(nano)

    return column


class ReadOnlyAdmin(ModelAdmin):
    """Rows that staff look at: none is added, changed or removed here."""

    show_full_result_count = False  # counting a large table costs more than showing a page of it
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest, *args: object) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def may_act(self, request: HttpRequest) -> bool:
        """Whether the model's change permission, which the pages above ignore, was given to this member of staff."""
        return request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")

    def act_page(self, request: HttpRequest, row: Model, **context: Any) -> HttpResponse:
        """The page that asks before something is done to `row`; `context` has title, explanation, verb and form."""
        back = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[row.pk])
        page = {**self.admin_site.each_context(request), "opts": self.opts, "back": back, **context}
        return TemplateResponse(request, "admin/act_on_object.html", page)


class PlanForm(forms.ModelForm):
    monthly_price_nano = UsdField(label="Price a month, USD")

    class Meta:
        model = Plan
        fields = "__all__"  # noqa: DJ007  (staff edit whatever a plan limits)


@admin.register(Plan)
class PlanAdmin(ModelAdmin):
    """The form checks every constraint of the table before the table does."""

    form = PlanForm
    list_display = ["name", "code", usd_column("monthly_price_nano", "USD a month"), "requests_per_second",
                    "concurrent_streams", "tokens_per_minute", "turns_per_day"]  # fmt: skip
    ordering = ["position"]

    def get_readonly_fields(self, request: HttpRequest, obj: Plan | None = None) -> list[str]:
        return ["code"] if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: Plan | None = None) -> bool:
        return False


@admin.register(Subscription)
class SubscriptionAdmin(ModelAdmin):
    list_display = ["id", "owner", "plan", "created_at"]
    list_filter = ["plan"]
    list_select_related = ["owner", "plan"]
    search_fields = ["=id", "owner__email"]
    fields = ["id", "owner", "plan", "created_at"]
    readonly_fields = ["id", "owner", "created_at"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Subscription | None = None) -> bool:
        return False


class CreditsForm(forms.Form):
    """`item` makes the change safe to send twice, as a double click does."""

    usd = UsdField(label="US dollars", help_text="Such as 5 or 0.000123; with a minus it takes credits.")
    reason = forms.CharField(
        max_length=200, widget=UnfoldAdminTextInputWidget, help_text="The customer sees it in their transactions."
    )
    item = forms.CharField(widget=forms.HiddenInput)

    def clean_usd(self) -> int:
        nano = self.cleaned_data["usd"]
        if nano == 0:
            raise forms.ValidationError("Nothing would change.")
        if abs(nano) > LARGEST_GRANT_NANO:
            raise forms.ValidationError("At most 1,000,000 US dollars at a time.")
        return nano

    def clean_item(self) -> str:
        item = self.cleaned_data["item"]
        if not ids.has_prefix(item, "led"):
            raise forms.ValidationError("Load the page again.")
        return item


@admin.register(CreditAccount)
class CreditAccountAdmin(ReadOnlyAdmin):
    list_display = ["workspace_id", "workspace", usd_column("balance_nano", "balance, USD"),
                    usd_column("held_nano", "held, USD"),
                    usd_column("available_nano", "available, USD", stored=False)]  # fmt: skip
    list_select_related = ["workspace"]
    search_fields = ["=workspace__id", "workspace__name"]
    ordering = ["workspace_id"]
    fields = ["workspace", "balance", "held", "available", "last_entry"]
    readonly_fields = fields
    actions_detail = ["change_credits"]

    balance = staticmethod(usd_column("balance_nano", "balance, USD"))
    held = staticmethod(usd_column("held_nano", "held, USD"))
    available = staticmethod(usd_column("available_nano", "available, USD", stored=False))

    def has_grant_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return self.may_act(request)

    @action(description="Grant or take credits", url_path="change-credits", permissions=["grant"])
    def change_credits(self, request: HttpRequest, object_id: str) -> HttpResponse:
        account = get_object_or_404(CreditAccount.objects.select_related("workspace"), pk=object_id)
        form = CreditsForm(request.POST or None, initial={"item": ids.new("led")})
        if request.method == "POST" and form.is_valid() and self._apply(request, account, form):
            return redirect("admin:billing_creditaccount_change", account.pk)
        return self.act_page(
            request,
            account,
            title=f"Credits of {account.workspace.name}",
            explanation=f"{money.usd(account.available_nano)} US dollars are available.",
            verb="Change credits",
            form=form,
        )

    def _apply(self, request: HttpRequest, account: CreditAccount, form: CreditsForm) -> bool:
        """Whether the ledger took it; where it would go below zero, the form says so."""
        nano, reason = form.cleaned_data["usd"], form.cleaned_data["reason"]
        try:
            ledger.change_credits(
                account=account.pk, amount_nano=nano, reason=reason, item_id=form.cleaned_data["item"]
            )
        except ledger.InsufficientCredits as problem:
            form.add_error("usd", f"Only {money.usd(problem.available_nano)} US dollars are available.")
            return False
        self.log_change(request, account, f"{money.usd(nano)} US dollars: {reason}")
        messages.success(request, f"{money.usd(nano)} US dollars: done.")
        return True


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnlyAdmin):
    list_display = ["id", "account_id", "number", "kind", usd_column("amount_nano", "amount, USD"),
                    usd_column("balance_after_nano", "balance after, USD"), "reason", "created_at"]  # fmt: skip
    list_filter = ["kind"]
    search_fields = ["=id", "=account__workspace__id", "=reservation__turn_id"]
    ordering = ["-id"]
    fields = ["id", "account", "number", "kind", "amount", "balance_after", "reservation", "reason", "created_at"]
    readonly_fields = fields

    amount = staticmethod(usd_column("amount_nano", "amount, USD"))
    balance_after = staticmethod(usd_column("balance_after_nano", "balance after, USD"))


@admin.register(Reservation)
class ReservationAdmin(ReadOnlyAdmin):
    list_display = ["id", "account_id", "state", usd_column("amount_nano", "held, USD"),
                    usd_column("reading_nano", "used so far, USD"), usd_column("charged_nano", "charged, USD"),
                    usd_column("uncovered_nano", "uncovered, USD"), "estimated", "opened_at"]  # fmt: skip
    list_filter = ["state", "estimated"]
    search_fields = ["=id", "=turn_id", "=account__workspace__id"]
    ordering = ["-id"]
    fields = ["id", "turn_id", "account", "state", "amount", "reading", "charged", "adjusted", "uncovered", "estimated",
              "opened_at", "expires_at", "closed_at"]  # fmt: skip
    readonly_fields = fields

    amount = staticmethod(usd_column("amount_nano", "held, USD"))
    reading = staticmethod(usd_column("reading_nano", "used so far, USD"))
    charged = staticmethod(usd_column("charged_nano", "charged, USD"))
    adjusted = staticmethod(usd_column("adjusted_nano", "adjusted after a lapse, USD"))
    uncovered = staticmethod(usd_column("uncovered_nano", "used but not covered, USD"))


class PriceForm(forms.ModelForm):
    input_nano = UsdField(label="Input, USD per million tokens")
    output_nano = UsdField(label="Output, USD per million tokens")
    cached_input_nano = UsdField(
        label="Cached input, USD per million tokens", required=False, help_text="The price of input where empty."
    )

    class Meta:
        model = ModelPrice
        fields = ["model", "input_nano", "output_nano", "cached_input_nano", "valid_from"]


@admin.register(ModelPrice)
class ModelPriceAdmin(ModelAdmin):
    """A new price is a new row: what was charged before stays explained."""

    form = PriceForm
    list_display = ["model", usd_column("input_nano", "input, USD"), usd_column("output_nano", "output, USD"),
                    usd_column("cached_input_nano", "cached input, USD"), "valid_from", "source"]  # fmt: skip
    search_fields = ["model"]
    ordering = ["model", "-valid_from"]

    def has_change_permission(self, request: HttpRequest, obj: ModelPrice | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ModelPrice | None = None) -> bool:
        return False
