"""What a workspace has, what it spent and what is held."""

from typing import ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from agents.api.base import WorkspaceView
from agents.api.pagination import BY_ID, BY_NUMBER, page
from agents.api.schema import operation
from agents.api.serializers import CreditsSerializer, ReservationSerializer, TransactionSerializer
from agents.permissions import Action
from billing.models import LedgerEntry, Reservation


class CreditsView(WorkspaceView):
    actions: ClassVar = {"GET": Action.READ}

    @operation("getCredits", "The credits of a workspace", tag="money", response=CreditsSerializer, refusals=[404])
    def get(self, request: Request, workspace: str) -> Response:
        return Response(CreditsSerializer(self.workspace.credit_account).data)


class TransactionsView(WorkspaceView):
    actions: ClassVar = {"GET": Action.READ}

    @operation(
        "listTransactions",
        "Every change of the balance, newest first",
        tag="money",
        response=TransactionSerializer,
        refusals=[404],
        paged=True,
    )
    def get(self, request: Request, workspace: str) -> Response:
        rows = LedgerEntry.objects.filter(account_id=self.workspace.pk).select_related("reservation")
        return Response(page(request, rows, BY_NUMBER, TransactionSerializer))


class ReservationsView(WorkspaceView):
    actions: ClassVar = {"GET": Action.READ}

    @operation(
        "listReservations",
        "What was held for each turn, newest first",
        tag="money",
        response=ReservationSerializer,
        refusals=[404],
        paged=True,
    )
    def get(self, request: Request, workspace: str) -> Response:
        rows = Reservation.objects.filter(account_id=self.workspace.pk)
        return Response(page(request, rows, BY_ID, ReservationSerializer))
