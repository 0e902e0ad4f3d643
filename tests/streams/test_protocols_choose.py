"""Which dialect a request gets."""

import pytest

from streams.protocols import UnknownDialect, choose, choose_for_reattach, make


@pytest.mark.parametrize(
    ("header", "query", "accept", "setting", "auto", "chosen"),
    [
        (None, None, None, "auto", "plain", "plain"),
        (None, None, "*/*", "auto", "ui", "ui"),
        ("plain", "ui", "application/json", "ui", "ui", "plain"),
        (None, "ui", "application/json", "plain", "plain", "ui"),
        (" JSON ", None, None, "auto", "ui", "json"),
        ("", "", "", "auto", "ui", "ui"),
        (None, None, "application/json", "ui", "ui", "json"),
        (None, None, "Application/JSON; charset=utf-8", "ui", "ui", "json"),
        (None, None, "application/json, text/event-stream", "auto", "ui", "ui"),
        (None, None, "text/event-stream", "auto", "plain", "plain"),
        (None, None, "*/*", "ui", "plain", "ui"),
        (None, None, None, "plain", "ui", "plain"),
        ("ui", None, None, "v4", "v4", "ui"),
    ],
)
def test_the_first_answer_wins(
    header: str | None, query: str | None, accept: str | None, setting: str, auto: str, chosen: str
) -> None:
    assert choose(header, query, accept, setting, auto) == chosen


@pytest.mark.parametrize(
    ("header", "query", "setting", "auto", "named", "why"),
    [
        ("xml", None, "auto", "plain", "xml", "is not a dialect"),
        (None, "v4", "auto", "plain", "v4", "is not served yet"),
        (None, None, "ui5", "plain", "ui5", "is not served yet"),
        (None, None, "auto", "v4", "v4", "is not served yet"),
        ("text", "ui", "ui", "ui", "text", "is not served yet"),
        ("x" * 5000, None, "auto", "plain", "x" * 5000, "is not a dialect"),
    ],
)
def test_what_is_not_served_is_said(
    header: str | None, query: str | None, setting: str, auto: str, named: str, why: str
) -> None:
    with pytest.raises(UnknownDialect, match=why) as raised:
        choose(header, query, None, setting, auto)
    assert raised.value.name == named
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize(
    ("asked", "after", "by_query", "began", "chosen"),
    [
        ((None, None, None), False, False, "ui", "ui"),
        ((None, None, "text/event-stream"), False, False, "json", "json"),
        ((None, None, None), True, False, "ui", "plain"),
        ((None, None, None), True, True, "ui", "plain"),
        (("ui", None, None), True, True, "plain", "ui"),
        ((None, "plain", None), False, True, "ui", "plain"),
        ((None, None, "application/json"), True, False, "ui", "json"),
    ],
)
def test_a_reader_that_comes_back(
    asked: tuple[str | None, str | None, str | None], after: bool, by_query: bool, began: str, chosen: str
) -> None:
    got = choose_for_reattach(*asked, goes_on_after=after, by_query_chat_id=by_query, began=began)
    assert got == chosen


def test_a_reader_of_version_4_is_told_that_it_is_not_served() -> None:
    with pytest.raises(UnknownDialect):
        choose_for_reattach(None, None, None, goes_on_after=False, by_query_chat_id=True, began="ui")


def test_an_encoder_names_its_dialect() -> None:
    assert make("plain").headers == {"X-Stream-Dialect": "plain"}
    assert make("ui").headers == {"X-Stream-Dialect": "ui", "x-vercel-ai-ui-message-stream": "v1"}
    for name in ("json", "v4", "nonsense"):
        with pytest.raises(ValueError, match="not a dialect with an encoder"):
            make(name)
