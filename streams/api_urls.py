"""The REST routes of this app, relative to `/api/`; the streams themselves are in `streams.urls`."""

from agents.api.routing import route
from agents.api.urls import AGENT
from streams.api import ConversationDetailView, ConversationsView, ModelsView, PricingView, StreamUrlView

urlpatterns = [
    route(f"{AGENT}/conversations", ConversationsView.as_view()),
    route(f"{AGENT}/conversations/<str:conversation>", ConversationDetailView.as_view()),
    route("stream-url", StreamUrlView.as_view()),
    route("models", ModelsView.as_view()),
    route("pricing", PricingView.as_view()),
]
