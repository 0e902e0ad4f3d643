"""The REST routes of this app, relative to `/api/`."""

from agents.api.agents import AgentDetailView, AgentsView
from agents.api.credentials import (
    ApiKeyDetailView,
    ApiKeyRotationView,
    ApiKeysView,
    StreamSecretDetailView,
    StreamSecretRotationView,
    StreamSecretsView,
)
from agents.api.money import CreditsView, ReservationsView, TransactionsView
from agents.api.routing import route
from agents.api.service import DocsView, HealthView, SchemaView, VersionView
from agents.api.workspaces import MembersView, WorkspaceDetailView, WorkspacesView

WORKSPACE = "workspaces/<str:workspace>"
AGENT = f"{WORKSPACE}/agents/<str:agent>"

urlpatterns = [
    route("workspaces", WorkspacesView.as_view()),
    route(WORKSPACE, WorkspaceDetailView.as_view()),
    route(f"{WORKSPACE}/members", MembersView.as_view()),
    route(f"{WORKSPACE}/agents", AgentsView.as_view()),
    route(AGENT, AgentDetailView.as_view()),
    route(f"{AGENT}/stream-secrets", StreamSecretsView.as_view()),
    route(f"{AGENT}/stream-secrets/<str:secret>", StreamSecretDetailView.as_view()),
    route(f"{AGENT}/stream-secrets/<str:secret>/rotate", StreamSecretRotationView.as_view()),
    route(f"{WORKSPACE}/api-keys", ApiKeysView.as_view()),
    route(f"{WORKSPACE}/api-keys/<str:key>", ApiKeyDetailView.as_view()),
    route(f"{WORKSPACE}/api-keys/<str:key>/rotate", ApiKeyRotationView.as_view()),
    route(f"{WORKSPACE}/credits", CreditsView.as_view()),
    route(f"{WORKSPACE}/transactions", TransactionsView.as_view()),
    route(f"{WORKSPACE}/reservations", ReservationsView.as_view()),
    route("health", HealthView.as_view()),
    route("version", VersionView.as_view()),
    route("schema", SchemaView.as_view(), name="schema"),
    route("docs", DocsView.as_view(url_name="schema"), name="docs"),
]
