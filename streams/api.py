"""REST for what streams leave behind and need: conversations, the stream address, models and their prices."""

from typing import Any, ClassVar

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone
from drf_spectacular.utils import inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents.api import access
from agents.api.base import AgentView, RestView
from agents.api.fields import Currency, Usd
from agents.api.pagination import BY_ID, BY_MODEL, page
from agents.api.schema import operation
from agents.api.service import PublicView
from agents.permissions import Action
from billing import ids
from billing.models import ModelPrice
from streams.models import Conversation, Message, Turn

SHOWN_MESSAGES = 500
SIMULATED_MODELS = "simulated/"


class ConversationSerializer(serializers.ModelSerializer):
    class Meta:
        model = Conversation
        fields = ["id", "agent_id", "chat_id", "created_at", "updated_at"]


class MessageSerializer(serializers.ModelSerializer):
    parts = serializers.ListField(child=serializers.DictField(), help_text="tagged by `type`")

    class Meta:
        model = Message
        fields = ["id", "turn_id", "role", "parts", "created_at"]


class TurnSerializer(serializers.ModelSerializer):
    cost = Usd(source="cost_nano")

    class Meta:
        model = Turn
        fields = [
            "id", "model", "simulated", "ending", "finish_reason", "input_tokens", "output_tokens", "reasoning_tokens",
            "cached_input_tokens", "estimated", "cost", "started_at", "ended_at",
        ]  # fmt: skip


class ConversationDetailSerializer(ConversationSerializer):
    messages = MessageSerializer(many=True)
    turns = TurnSerializer(many=True)
    has_more = serializers.BooleanField(help_text=f"whether there are more than the newest {SHOWN_MESSAGES} messages")

    class Meta(ConversationSerializer.Meta):
        fields = [*ConversationSerializer.Meta.fields, "messages", "turns", "has_more"]


class ModelSerializer(serializers.Serializer):
    id = serializers.CharField(source="model")
    simulated = serializers.SerializerMethodField(help_text="whether its answers are made up by the product itself")

    def get_simulated(self, price: ModelPrice) -> bool:
        return price.model.startswith(SIMULATED_MODELS)


class PriceSerializer(serializers.ModelSerializer):
    """US dollars per million tokens."""

    input = Usd(source="input_nano")
    output = Usd(source="output_nano")
    cached_input = serializers.SerializerMethodField()
    currency = Currency()

    class Meta:
        model = ModelPrice
        fields = ["model", "input", "output", "cached_input", "currency", "valid_from"]

    def get_cached_input(self, price: ModelPrice) -> str:
        nano = price.input_nano if price.cached_input_nano is None else price.cached_input_nano
        return Usd().to_representation(nano)


class ConversationsView(AgentView):
    actions: ClassVar = {"GET": Action.READ}

    @operation(
        "listConversations",
        "The conversations of an agent, newest first",
        tag="conversations",
        response=ConversationSerializer,
        refusals=[404],
        paged=True,
    )
    def get(self, request: Request, workspace: str, agent: str) -> Response:
        rows = Conversation.objects.filter(agent=self.agent)
        return Response(page(request, rows, BY_ID, ConversationSerializer))


class ConversationDetailView(AgentView):
    actions: ClassVar = {"GET": Action.READ}
    conversation: Conversation

    def initial(self, request: Request, *args: object, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        found = None
        if ids.has_prefix(kwargs["conversation"], "conv"):
            found = Conversation.objects.filter(agent=self.agent, pk=kwargs["conversation"]).first()
        if found is None:
            raise access.not_found()
        self.conversation = found

    @operation(
        "getConversation",
        "A conversation with its newest messages and their turns, in order",
        tag="conversations",
        response=ConversationDetailSerializer,
        refusals=[404],
    )
    def get(self, request: Request, workspace: str, agent: str, conversation: str) -> Response:
        newest = list(self.conversation.messages.order_by("-id")[: SHOWN_MESSAGES + 1])
        messages = newest[:SHOWN_MESSAGES][::-1]
        turns = self.conversation.turns.order_by("id")
        if len(newest) > SHOWN_MESSAGES:
            turns = turns.filter(pk__in={message.turn_id for message in messages})
        return Response(
            {
                **ConversationSerializer(self.conversation).data,
                "messages": MessageSerializer(messages, many=True).data,
                "turns": TurnSerializer(turns, many=True).data,
                "has_more": len(newest) > SHOWN_MESSAGES,
            }
        )


class StreamUrlView(PublicView):
    @operation(
        "getStreamUrl",
        "Where streams are answered; a widget asks this before anything else",
        tag="streams",
        response=inline_serializer("StreamUrl", {"url": serializers.CharField()}),
        public=True,
    )
    def get(self, request: Request) -> Response:
        return Response({"url": settings.STREAM_URL})


class ModelsView(RestView):
    @operation(
        "listModels",
        "The models that agents can use: there is a provider for them and a price",
        tag="streams",
        response=ModelSerializer,
        paged=True,
    )
    def get(self, request: Request) -> Response:
        access.require_scope(request.user, Action.READ)
        usable = Q() if settings.PROVIDER_CONFIGURED else Q(model__startswith=SIMULATED_MODELS)
        return Response(page(request, current_prices().filter(usable), BY_MODEL, ModelSerializer))


class PricingView(RestView):
    @operation(
        "listPrices",
        "What models cost now, per million tokens",
        tag="streams",
        response=PriceSerializer,
        paged=True,
    )
    def get(self, request: Request) -> Response:
        access.require_scope(request.user, Action.READ)
        return Response(page(request, current_prices(), BY_MODEL, PriceSerializer))


def current_prices() -> QuerySet[ModelPrice]:
    """The newest valid price of each model."""
    valid = ModelPrice.objects.filter(valid_from__lte=timezone.now())
    newest = valid.order_by("model", "-valid_from").distinct("model")
    return ModelPrice.objects.filter(pk__in=newest.values("pk"))
