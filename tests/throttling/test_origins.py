"""Origins: exact, by wildcard, and everything that only looks alike."""

import pytest

from throttling import origins

LISTED = ("https://shop.example.com", "https://*.example.org", "http://*.dev.test:8080")


@pytest.mark.parametrize(
    "origin",
    [
        "https://shop.example.com",
        "https://a.example.org",
        "https://a.b.example.org",
        "http://x.dev.test:8080",
    ],
)
def test_allowed(origin):
    assert origins.allowed(origin, LISTED)


@pytest.mark.parametrize(
    "origin",
    [
        "http://shop.example.com",
        "https://shop.example.com:8443",
        "https://shop.example.com.evil.net",
        "https://example.org",
        "https://evilexample.org",
        "https://a.example.org:444",
        "https://a.example.org.evil.net",
        "http://x.dev.test",
        "null",
        "",
        "https://[broken",
        "https://a.example.org:notaport",
        "https://user@evil.net",
    ],
)
def test_refused(origin):
    assert not origins.allowed(origin, LISTED)


def test_a_star_allows_all_and_an_empty_list_nothing():
    assert origins.allowed("https://anything.test", ("*",))
    assert not origins.allowed("https://anything.test", ())


def test_answers_vary_by_origin_and_never_allow_credentials():
    for headers in (origins.answer(None), origins.answer("https://a.test"), origins.preflight("https://a.test")):
        named = dict(headers)
        assert named[b"vary"] == b"Origin"
        assert b"access-control-allow-credentials" not in named
        assert named.get(b"access-control-allow-origin") in (None, b"https://a.test")
