"""Staff's view of users, workspaces and what opens them. Secrets are revoked and rotated here, and never seen again."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as StockGroupAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.debug import sensitive_variables
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from agents import secrets
from agents.models import Agent, ApiKey, Membership, StreamSecret, User, Workspace
from agents.problems import Problem
from billing.admin import ReadOnlyAdmin

admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(StockGroupAdmin, ModelAdmin):
    """What groups of staff may do."""


@admin.register(User)
class UserAdmin(ModelAdmin):
    """People sign up by themselves; only a superuser says who is staff and what they may do."""

    list_display = ["email", "name", "is_active", "is_staff", "joined_at"]
    list_filter = ["is_active", "is_staff"]
    search_fields = ["=id", "email", "name"]
    ordering = ["-id"]
    fields = ["id", "email", "name", "is_active", "is_staff", "is_superuser", "groups", "user_permissions",
              "joined_at", "last_login"]  # fmt: skip
    filter_horizontal = ["groups", "user_permissions"]

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        kept = ["id", "email", "joined_at", "last_login"]
        if not request.user.is_superuser:
            kept += ["is_staff", "is_superuser", "groups", "user_permissions"]
        return kept

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        if obj is not None and obj.is_superuser and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False


class MembershipInline(TabularInline):
    model = Membership
    fields = ["user", "role", "created_at"]
    readonly_fields = fields
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Workspace | None = None) -> bool:
        return False


@admin.register(Workspace)
class WorkspaceAdmin(ReadOnlyAdmin):
    list_display = ["id", "name", "subscription", "created_at", "deleted_at"]
    list_select_related = ["subscription"]
    search_fields = ["=id", "name", "memberships__user__email"]
    ordering = ["-id"]
    fields = ["id", "name", "subscription", "created_at", "deleted_at"]
    inlines = [MembershipInline]


@admin.register(Agent)
class AgentAdmin(ReadOnlyAdmin):
    """How it is set up; the prompt is the customer's own affair."""

    list_display = ["id", "name", "workspace", "model", "created_at", "deleted_at"]
    list_select_related = ["workspace"]
    search_fields = ["=id", "=workspace__id", "name", "model"]
    ordering = ["-id"]
    fields = ["id", "workspace", "name", "model", "temperature", "top_p", "max_output_tokens", "dialect",
              "show_reasoning", "on_disconnect", "disconnect_grace_s", "version", "created_at", "updated_at",
              "deleted_at"]  # fmt: skip


class RotateForm(forms.Form):
    overlap_s = forms.IntegerField(
        label="Seconds for which the old one still works",
        min_value=0,
        max_value=secrets.LONGEST_OVERLAP_S,
        initial=secrets.DEFAULT_OVERLAP_S,
        widget=UnfoldAdminIntegerFieldWidget,
    )


class CredentialAdmin(ReadOnlyAdmin):
    """What stream secrets and API keys have in common. Neither the secret nor its digest is on any page."""

    search_fields = ["=id", "=public_id", "name"]
    list_filter = [("revoked_at", admin.EmptyFieldListFilter)]
    ordering = ["-id"]
    actions = ["revoke_selected"]
    actions_detail = ["rotate", "revoke"]

    def has_act_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return self.may_act(request)

    @action(description="Revoke", permissions=["act"])
    def revoke_selected(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        for row in rows:
            self._revoke(request, row)
        messages.success(request, f"Revoked: {len(rows)}.")

    @action(description="Revoke", url_path="revoke", permissions=["act"])
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = get_object_or_404(self.model, pk=object_id)
        if request.method == "POST":
            self._revoke(request, row)
            messages.success(request, f"{row} is revoked.")
            return redirect(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", row.pk)
        return self.act_page(
            request, row, title=f"Revoke {row}", explanation="It opens nothing from now on, for ever.", verb="Revoke"
        )

    @sensitive_variables("made")
    @action(description="Rotate", url_path="rotate", permissions=["act"])
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = get_object_or_404(self.model, pk=object_id)
        form = RotateForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                made = self._make(row, form.cleaned_data["overlap_s"])
            except Problem as problem:
                form.add_error(None, problem.detail)
            else:
                self.log_change(request, row, f"Rotated; the new one is {made.stored.pk}.")
                row.refresh_from_db()
                return self._shown_once(request, row, made)
        return self.act_page(
            request,
            row,
            title=f"Rotate {row}",
            explanation="A new one is made with the same name and settings. It is shown once, on the next page.",
            verb="Rotate",
            form=form,
        )

    def _make(self, row: Any, overlap_s: int) -> secrets.NewStreamSecret | secrets.NewApiKey:
        raise NotImplementedError

    def _revoke(self, request: HttpRequest, row: Any) -> None:
        secrets.revoke(row)
        self.log_change(request, row, "Revoked.")

    def _shown_once(
        self, request: HttpRequest, old: Any, made: secrets.NewStreamSecret | secrets.NewApiKey
    ) -> HttpResponse:
        page = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"The new secret of {made.stored}",
            "old": old,
            "plain": made.plain,
            "back": reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"),
        }
        return TemplateResponse(request, "admin/secret_once.html", page)


@admin.register(StreamSecret)
class StreamSecretAdmin(CredentialAdmin):
    list_display = ["id", "name", "public_id", "agent", "expires_at", "revoked_at", "last_used_at"]
    list_select_related = ["agent"]
    fields = ["id", "name", "public_id", "agent", "allowed_origins", "lineage", "expires_at", "revoked_at",
              "last_used_at", "created_at"]  # fmt: skip

    def _make(self, row: StreamSecret, overlap_s: int) -> secrets.NewStreamSecret:
        return secrets.rotate_stream_secret(row, overlap_s=overlap_s)


@admin.register(ApiKey)
class ApiKeyAdmin(CredentialAdmin):
    list_display = ["id", "name", "public_id", "workspace", "scopes", "expires_at", "revoked_at", "last_used_at"]
    list_select_related = ["workspace"]
    fields = ["id", "name", "public_id", "workspace", "scopes", "expires_at", "revoked_at", "last_used_at",
              "created_by", "created_at"]  # fmt: skip

    def _make(self, row: ApiKey, overlap_s: int) -> secrets.NewApiKey:
        return secrets.rotate_api_key(row, overlap_s=overlap_s)
