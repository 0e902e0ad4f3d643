"""Users, workspaces, members, agents and the secrets that open them."""

from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from billing.ids import PrefixedIdField


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """A user with that address; without a password they sign in by link."""
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """A person, known by an e-mail address."""

    id = PrefixedIdField("usr")
    email = models.EmailField()
    name = models.CharField(max_length=100, blank=True)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    joined_at = models.DateTimeField(default=timezone.now)

    objects = UserManager()
    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["email"], name="an_address_is_written_one_way"),
            models.UniqueConstraint(Lower("email"), name="an_address_belongs_to_one_user"),
        ]

    def __str__(self) -> str:
        return self.email


class WorkspaceQuerySet(models.QuerySet["Workspace"]):
    def present(self) -> "WorkspaceQuerySet":
        """Those that are not deleted."""
        return self.filter(deleted_at__isnull=True)

    def of(self, user: User) -> "WorkspaceQuerySet":
        """Those the user is a member of."""
        return self.present().filter(memberships__user=user)


class Workspace(models.Model):
    """Holds agents, members and credits. Deleting is soft: the ledger stays."""

    id = PrefixedIdField("ws")
    name = models.CharField(max_length=100)
    subscription = models.ForeignKey("billing.Subscription", on_delete=models.PROTECT, related_name="workspaces")
    created_at = models.DateTimeField(default=timezone.now)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = WorkspaceQuerySet.as_manager()

    class Meta:
        constraints = [models.CheckConstraint(condition=~Q(name=""), name="a_workspace_has_a_name")]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A user's role in a workspace."""

    class Role(models.TextChoices):
        VIEWER = "viewer"
        EDITOR = "editor"
        ADMIN = "admin"
        OWNER = "owner"

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=6, choices=Role.choices)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "user"], name="a_user_has_one_role_in_a_workspace"),
            models.CheckConstraint(
                condition=Q(role__in=["viewer", "editor", "admin", "owner"]), name="a_role_is_a_known_one"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.role} {self.workspace_id}"


class AgentQuerySet(models.QuerySet["Agent"]):
    def present(self) -> "AgentQuerySet":
        return self.filter(deleted_at__isnull=True, workspace__deleted_at__isnull=True)


class Agent(models.Model):
    """What answers: a prompt, a model and how it is to behave. `version` counts its changes, for `ETag`."""

    class OnDisconnect(models.TextChoices):
        STOP = "stop"  # cancel the provider when the last reader leaves (after the grace)
        FINISH = "finish"  # let the turn run to its end

    class Dialect(models.TextChoices):
        AUTO = "auto"
        PLAIN = "plain"
        UI = "ui"
        JSON = "json"

    id = PrefixedIdField("ag")
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="agents")
    name = models.CharField(max_length=100)
    system_prompt = models.TextField(blank=True, max_length=100_000)
    model = models.CharField(max_length=200)
    temperature = models.FloatField(null=True, blank=True, validators=[MinValueValidator(0), MaxValueValidator(2)])
    top_p = models.FloatField(null=True, blank=True, validators=[MinValueValidator(0), MaxValueValidator(1)])
    max_output_tokens = models.PositiveIntegerField(
        default=4096, validators=[MinValueValidator(1), MaxValueValidator(200_000)]
    )
    stop_sequences = ArrayField(models.CharField(max_length=100), size=4, default=list, blank=True)
    dialect = models.CharField(max_length=5, choices=Dialect.choices, default=Dialect.AUTO)
    show_reasoning = models.BooleanField(default=False)
    on_disconnect = models.CharField(max_length=6, choices=OnDisconnect.choices, default=OnDisconnect.STOP)
    disconnect_grace_s = models.PositiveSmallIntegerField(default=0, validators=[MaxValueValidator(300)])
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = AgentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~Q(name=""), name="an_agent_has_a_name"),
            models.CheckConstraint(condition=~Q(model=""), name="an_agent_has_a_model"),
            models.CheckConstraint(
                condition=Q(temperature__isnull=True) | Q(temperature__gte=0, temperature__lte=2),
                name="a_temperature_is_from_0_to_2",
            ),
            models.CheckConstraint(
                condition=Q(top_p__isnull=True) | Q(top_p__gte=0, top_p__lte=1), name="top_p_is_from_0_to_1"
            ),
            models.CheckConstraint(
                condition=Q(max_output_tokens__gte=1, max_output_tokens__lte=200_000),
                name="an_answer_has_room_and_an_end",
            ),
            models.CheckConstraint(
                condition=Q(on_disconnect__in=["stop", "finish"]), name="a_lost_reader_stops_or_does_not"
            ),
            models.CheckConstraint(condition=Q(disconnect_grace_s__lte=300), name="a_grace_is_five_minutes_at_most"),
            models.CheckConstraint(
                condition=Q(dialect__in=["auto", "plain", "ui", "json"]), name="an_agent_speaks_a_known_dialect"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Credential(models.Model):
    """What a stream secret and an API key have in common. Only the hash of the secret is stored."""

    name = models.CharField(max_length=100)
    public_id = models.CharField(max_length=12, unique=True, editable=False, db_collation="C")
    digest = models.BinaryField(max_length=32, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        abstract = True
        constraints = [models.CheckConstraint(condition=~Q(name=""), name="%(class)s_has_a_name")]

    def __str__(self) -> str:
        return f"{self.name} ({self.public_id})"


class StreamSecret(Credential):
    """Opens streams of one agent. An empty list of origins refuses browsers; callers without `Origin` pass.

    `lineage` is the id of the first of a line of rotated secrets: chats belong to the line, not to one secret.
    """

    id = PrefixedIdField("sec")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="stream_secrets")
    allowed_origins = ArrayField(models.CharField(max_length=200), size=50, default=list, blank=True)
    lineage = models.CharField(max_length=30, editable=False, db_collation="C")


class ApiKey(Credential):
    """Calls the REST API for one workspace, within its scopes."""

    class Scope(models.TextChoices):
        READ = "read"
        WRITE = "write"
        ADMIN = "admin"
        STREAMS_OPEN = "streams:open"

    id = PrefixedIdField("key")
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="api_keys")
    scopes = ArrayField(models.CharField(max_length=16, choices=Scope.choices), size=8)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")


class IdempotentReply(models.Model):
    """The first reply to a POST that bore an `Idempotency-Key`; the body is sealed, since it may hold a secret.

    Written in the transaction of the work itself: a request that still runs, or crashed, has no row.
    """

    caller = models.CharField(max_length=64)
    key = models.CharField(max_length=255)
    request_digest = models.BinaryField(max_length=32)
    status = models.PositiveSmallIntegerField()
    sealed_body = models.BinaryField()
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["caller", "key"], name="a_key_is_used_once_by_a_caller")]

    def __str__(self) -> str:
        return self.key
