"""Server-sent events out of bytes cut anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.providers.sse_reader import EventTooLarge, SseReader


def read(*pieces: bytes, bound: int = 1000) -> list[bytes]:
    reader = SseReader(bound)
    return [event for piece in pieces for event in reader.feed(piece)] + reader.finish()


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data: a\r\ndata: b\r\n\r\n", [b"a\nb"]),
        (b"data: a\rdata: b\r\r", [b"a\nb"]),
        (b"data\n\n", [b""]),
        (b"data: \n\n", [b""]),
        (b": ping\n\n:\n\ndata: a\n: between\n\n", [b"a"]),
        (b"event: x\nid: 7\nretry: 5\ndata: a\n\nevent: alone\n\n", [b"a"]),
        (b"database: a\n\n data: a\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"\n\n\n\n", []),
        (b"", []),
        (b"data: a\n\ndata: [DONE]", [b"a", b"[DONE]"]),
        (b"data: a\n", [b"a"]),
        ("data: ünï😀\n\n".encode(), ["ünï😀".encode()]),
        (b"data: a\x00b\n\n", [b"a\x00b"]),
    ],
)
def test_what_a_stream_means(stream: bytes, events: list[bytes]) -> None:
    assert read(stream) == events
    assert read(*(stream[i : i + 1] for i in range(len(stream)))) == events


PIECES = st.sampled_from(
    [
        b"data: a",
        b"data: b",
        b"data",
        b": ",
        b":",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"x",
        "ü😀".encode(),
        b" ",
        b"\xef\xbb\xbf",
    ]
)


@given(st.lists(PIECES, max_size=40).map(b"".join), st.data())
def test_any_cut_gives_the_same_events(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(*pieces) == read(stream)


def test_an_event_is_given_by_the_read_that_completes_it() -> None:
    reader = SseReader()
    assert reader.feed(b"data: a\n") == []
    assert reader.feed(b"\ndata: b") == [b"a"]
    assert reader.feed(b"\n\n") == [b"b"]
    assert reader.finish() == []


def test_a_lone_carriage_return_ends_an_event_at_once() -> None:
    assert SseReader().feed(b"data: a\r\r") == [b"a"]


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: " + b"x" * 1001],
        [b"x" * 600, b"x" * 600],
        [b": " + b"x" * 1001],
        [b"data: " + b"x" * 2000 + b"\n\n"],
        [b"data: xxxxxxxxx\n"] * 150,
        [b"data:\n"] * 1001,
    ],
)
def test_a_line_or_an_event_beyond_the_bound_is_refused(pieces: list[bytes]) -> None:
    with pytest.raises(EventTooLarge):
        read(*pieces)


def test_the_bound_is_of_an_event_and_not_of_a_stream() -> None:
    assert len(read(*([b"data: " + b"x" * 900 + b"\n\n", b": " + b"y" * 900 + b"\n"] * 50))) == 50
