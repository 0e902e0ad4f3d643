"""What the API takes and gives: bodies (`…Input`) and representations."""

from django.utils import timezone
from rest_framework import serializers

from agents import secrets
from agents.api.fields import Currency, Flag, Input, Instant, Number, Text, Usd, Whole
from agents.models import Agent, ApiKey, Membership, StreamSecret, Workspace
from billing.models import CreditAccount, LedgerEntry, Reservation


class WorkspaceInput(Input):
    name = Text(max_length=100)


class WorkspaceSerializer(serializers.ModelSerializer):
    plan = serializers.CharField(source="subscription.plan_id")

    class Meta:
        model = Workspace
        fields = ["id", "name", "plan", "created_at"]


class MemberSerializer(serializers.ModelSerializer):
    user_id = serializers.CharField()
    email = serializers.CharField(source="user.email")
    name = serializers.CharField(source="user.name")

    class Meta:
        model = Membership
        fields = ["user_id", "email", "name", "role", "created_at"]


class AgentInput(Input):
    # Bounds are the model's; its constraints hold whatever comes another way.
    name = Text(max_length=100)
    system_prompt = Text(max_length=100_000, allow_blank=True, trim_whitespace=False, required=False)
    model = Text(max_length=200, required=False)
    temperature = Number(min_value=0, max_value=2, allow_null=True, required=False)
    top_p = Number(min_value=0, max_value=1, allow_null=True, required=False)
    max_output_tokens = Whole(min_value=1, max_value=200_000, required=False)
    stop_sequences = serializers.ListField(
        child=Text(max_length=100, trim_whitespace=False), max_length=4, required=False
    )
    dialect = serializers.ChoiceField(choices=Agent.Dialect.choices, required=False)
    show_reasoning = Flag(required=False)
    on_disconnect = serializers.ChoiceField(choices=Agent.OnDisconnect.choices, required=False)
    disconnect_grace_s = Whole(min_value=0, max_value=300, required=False)


class AgentSerializer(serializers.ModelSerializer):
    class Meta:
        model = Agent
        fields = [
            "id",
            "workspace_id",
            "name",
            "system_prompt",
            "model",
            "temperature",
            "top_p",
            "max_output_tokens",
            "stop_sequences",
            "dialect",
            "show_reasoning",
            "on_disconnect",
            "disconnect_grace_s",
            "version",
            "created_at",
            "updated_at",
        ]


class _Expiring(Input):
    name = Text(max_length=100)
    expires_at = Instant(allow_null=True, required=False)

    def validate_expires_at(self, value: object) -> object:
        if value is not None and value <= timezone.now():
            raise serializers.ValidationError("This time is past.", code="past")
        return value


class Origin(Text):
    """`https://host`, `http://host:port`, `https://*.example.com` or `*`."""

    def to_internal_value(self, data: object) -> str:
        try:
            return secrets.origin(super().to_internal_value(data))
        except ValueError as problem:
            raise serializers.ValidationError(str(problem), code="invalid_origin") from None


class StreamSecretInput(_Expiring):
    allowed_origins = serializers.ListField(child=Origin(max_length=200), max_length=50, required=False)

    def validate_allowed_origins(self, value: list[str]) -> list[str]:
        return list(dict.fromkeys(value))


class RotateInput(Input):
    """For how many seconds the old one still works beside the new one."""

    overlap_s = Whole(min_value=0, max_value=secrets.LONGEST_OVERLAP_S, default=secrets.DEFAULT_OVERLAP_S)


class ApiKeyInput(_Expiring):
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=ApiKey.Scope.choices), allow_empty=False, min_length=1, max_length=8
    )

    def validate_scopes(self, value: list[str]) -> list[str]:
        return list(dict.fromkeys(value))


class _CredentialSerializer(serializers.ModelSerializer):
    prefix = serializers.SerializerMethodField(help_text="how the secret begins, to recognise it by")

    def get_prefix(self, credential: StreamSecret | ApiKey) -> str:
        return f"{'hmk' if isinstance(credential, ApiKey) else 'hms'}_{credential.public_id}"


class StreamSecretSerializer(_CredentialSerializer):
    class Meta:
        model = StreamSecret
        fields = ["id", "agent_id", "name", "prefix", "allowed_origins", "expires_at", "last_used_at", "created_at"]


class ApiKeySerializer(_CredentialSerializer):
    class Meta:
        model = ApiKey
        fields = ["id", "workspace_id", "name", "prefix", "scopes", "expires_at", "last_used_at", "created_at"]


class NewStreamSecretSerializer(StreamSecretSerializer):
    secret = serializers.CharField(help_text="shown once, in this reply alone")

    class Meta(StreamSecretSerializer.Meta):
        fields = [*StreamSecretSerializer.Meta.fields, "secret"]


class NewApiKeySerializer(ApiKeySerializer):
    secret = serializers.CharField(help_text="shown once, in this reply alone")

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "secret"]


class CreditsSerializer(serializers.ModelSerializer):
    balance = Usd(source="balance_nano")
    held = Usd(source="held_nano")
    available = Usd(source="available_nano")
    currency = Currency()

    class Meta:
        model = CreditAccount
        fields = ["balance", "held", "available", "currency"]


class TransactionSerializer(serializers.ModelSerializer):
    amount = Usd(source="amount_nano")
    balance_after = Usd(source="balance_after_nano")
    turn_id = serializers.CharField(source="reservation.turn_id", default=None, allow_null=True)

    class Meta:
        model = LedgerEntry
        fields = [
            "id", "number", "kind", "amount", "balance_after", "reason", "reservation_id", "turn_id", "created_at"
        ]  # fmt: skip


class ReservationSerializer(serializers.ModelSerializer):
    amount = Usd(source="amount_nano")
    reading = Usd(source="reading_nano")
    charged = Usd(source="charged_nano")
    adjusted = Usd(source="adjusted_nano")

    class Meta:
        model = Reservation
        fields = [
            "id", "turn_id", "state", "amount", "reading", "charged", "adjusted", "estimated", "opened_at",
            "expires_at", "closed_at",
        ]  # fmt: skip
