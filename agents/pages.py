"""The few pages that need no app in the browser: home, and the two steps of a one-time sign-in link."""

from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_ratelimit.core import is_ratelimited

from agents import sign_in
from agents.models import Agent, Workspace
from billing import money

SIGN_IN_RATE = "10/m"


@require_safe
@never_cache
def home(request: HttpRequest) -> HttpResponse:
    """The workspaces of whoever is signed in, with agents and credit; a hint on signing in for everybody else."""
    if not request.user.is_authenticated:
        return render(request, "agents/home.html", {"workspaces": []})
    workspaces = Workspace.objects.of(request.user).select_related("credit_account").order_by("id")
    agents = Agent.objects.present().filter(workspace__in=workspaces).order_by("id")
    shown = [
        {
            "workspace": workspace,
            "available": money.usd(workspace.credit_account.available_nano),
            "held": money.usd(workspace.credit_account.held_nano),
            "agents": [agent for agent in agents if agent.workspace_id == workspace.id],
        }
        for workspace in workspaces
    ]
    return render(request, "agents/home.html", {"workspaces": shown})


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def sign_in_by_link(request: HttpRequest, token: str) -> HttpResponse:
    """GET shows who the link is for and one button; POST signs in. A refused link is 403, an eleventh try 429."""
    if is_ratelimited(request, group="sign-in", key="ip", rate=SIGN_IN_RATE, increment=True):
        page = render(request, "agents/sign_in.html", {"problem": "too many tries"}, status=429)
        page["Retry-After"] = "60"
        return page
    try:
        if request.method == "POST":
            sign_in.redeem(request, token)
            return redirect("home")
        return render(request, "agents/sign_in.html", {"email": sign_in.whose(token).email})
    except sign_in.LinkRefused:
        return render(request, "agents/sign_in.html", {"problem": "link refused"}, status=403)


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    logout(request)
    return redirect("home")
