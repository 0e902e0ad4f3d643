"""The grammar of stream paths: every form, and what follows none."""

import pytest

from throttling import paths

WS, AG = "ws_01k0000000e008rrjz28wrf6zh", "ag_01k0000000e008rrjz28wrf6zk"
BASE = f"/api/streams/{WS}/{AG}"


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(
    ("tail", "by", "secret", "chat", "verb"),
    [
        ("", "header", None, None, None),
        ("/hms_x", "path", "hms_x", None, None),
        ("/test", "member", None, None, None),
        ("/chat1/stream", "header", None, "chat1", "stream"),
        ("/hms_x/chat1/stop", "path", "hms_x", "chat1", "stop"),
        ("/test/chat1/stop", "member", None, "chat1", "stop"),
        ("/hms_x/a%20b%3Fc/stream", "path", "hms_x", "a b?c", "stream"),
        ("/test/stream", "header", None, "test", "stream"),
    ],
)
def test_every_form(tail, by, secret, chat, verb, slash):
    path = paths.parse(BASE + tail + slash)
    assert path == (WS, AG, by, secret, chat, verb)


@pytest.mark.parametrize("tail", ["", "/hms_x", "/hms_x/chat%201/stop", "/test", "/test/c/stream", "/c/stop"])
def test_the_secret_is_left_out_and_the_rest_is_kept(tail):
    path = paths.parse(BASE + tail)
    assert path is not None
    assert "hms_x" not in path.without_secret
    assert b"hms_x" not in path.raw_without_secret
    again = paths.parse(path.raw_without_secret.decode())
    assert again is not None
    assert (again.chat, again.verb) == (path.chat, path.verb)


@pytest.mark.parametrize(
    "path",
    [
        "/api/streams/",
        f"/api/streams/{WS}",
        f"/api/streams/{AG}/{WS}/hms_x",
        f"/api/streams/{WS.upper()}/{AG}/hms_x",
        f"{BASE}//",
        f"{BASE}/config/test",
        f"{BASE}/config",
        f"{BASE}/hms_x/chat1/other",
        f"{BASE}/hms_x/a%2Fb/stop",
        f"{BASE}/hms_x/a%00b/stop",
        f"{BASE}/hms_x/{'c' * 129}/stop",
        f"{BASE}/a/b/c/stop",
        f"/api/streams/{WS}/_workspace/test",
        "/api/other/",
    ],
)
def test_what_follows_no_form(path):
    assert paths.parse(path) is None
