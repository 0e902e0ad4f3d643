"""The environment's readers: a missing or malformed variable ends the start with one line that names it."""

import pytest
from cryptography.fernet import Fernet

from helpmaton import env


@pytest.fixture
def given(monkeypatch):
    return lambda value: monkeypatch.setenv("THING", value)


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (env.text, ""),
        (env.flag, "maybe"),
        (lambda name: env.choice(name, ("a", "b"), "a"), "c"),
        (lambda name: env.url(name, ("http",)), "ftp://x"),
        (lambda name: env.url(name, ("http",)), "http://x:port"),
        (env.stack_name, "Has-Dashes"),
        (env.fernet_keys, "notakey"),
        (env.fernet_keys, ""),
        (lambda name: env.seconds(name, 1), "soon"),
        (lambda name: env.seconds(name, 1), "-1"),
        (env.networks, "10.0.0.0/99"),
        (lambda name: env.database(name, "s"), "postgresql://user@host/"),
        (lambda name: env.database(name, "s"), "mysql://user@host/x"),
    ],
)
def test_what_is_malformed_is_named(read, value, given):
    given(value)
    with pytest.raises(env.BadEnvironment) as raised:
        read("THING")
    message = str(raised.value)
    assert message.startswith("THING ")
    assert "\n" not in message


def test_what_is_well_formed_is_read(given):
    key = Fernet.generate_key().decode()
    given(key)
    assert env.fernet_keys("THING") == [key]
    given("yes")
    assert env.flag("THING") is True
    given("a, b,,c")
    assert env.words("THING") == ["a", "b", "c"]
    given("http://example.com/")
    assert env.url("THING", ("http",)) == "http://example.com"
    given("")
    assert env.seconds("THING", 2.5) == 2.5


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p%40ss@db:5433/{stack}_main", ("pr7_main", "u", "p@ss", "db", "5433", {})),
        ("postgresql://postgres@/{stack}?host=/run/pg", ("pr7", "postgres", "", "/run/pg", "", {})),
        ("postgres://u@db/x?sslmode=require", ("x", "u", "", "db", "", {"sslmode": "require"})),
    ],
)
def test_a_database_is_named_by_the_stack(url, expected, given):
    given(url)
    read = env.database("THING", "pr7")
    assert (read["NAME"], read["USER"], read["PASSWORD"], read["HOST"], read["PORT"], read["OPTIONS"]) == expected
