"""Secrets: form, checksum, comparison, sealing."""

import string

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from agents import vault


def test_a_minted_secret_is_well_formed_and_matches_itself_alone():
    one, other = vault.mint(vault.STREAM_SECRET), vault.mint(vault.STREAM_SECRET)
    assert vault.public_id(one.plain, vault.STREAM_SECRET) == one.public_id
    assert vault.public_id(one.plain, vault.API_KEY) is None
    assert vault.matches(one.plain, one.digest)
    assert vault.matches(one.plain, memoryview(one.digest))
    assert not vault.matches(one.plain, other.digest)
    assert one.plain.encode() not in one.digest
    assert len({one.plain, other.plain, one.public_id, other.public_id}) == 4


@given(place=st.integers(0, 53), letter=st.sampled_from(string.ascii_letters + string.digits))
def test_any_changed_letter_is_malformed(place, letter):
    plain = "hms_000000000000" + "A" * 32
    plain += vault._checksum(plain)
    assert vault.public_id(plain, vault.STREAM_SECRET) == "000000000000"
    changed = plain[:place] + letter + plain[place + 1 :]
    assert (vault.public_id(changed, vault.STREAM_SECRET) is None) == (changed != plain)


@pytest.mark.parametrize("text", ["", "hms_", "hms_" + "0" * 50, "test", "hms_" + "é" * 50, "x" * 10_000])
def test_what_is_no_secret_is_refused_without_a_query(text):
    assert vault.public_id(text, vault.STREAM_SECRET) is None


def test_a_sealed_value_opens_with_older_keys_and_with_no_other():
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    sealed = vault.Sealed([old]).seal({"secret": "hms_x"})
    assert b"hms_x" not in sealed
    assert vault.Sealed([new, old]).open(sealed) == {"secret": "hms_x"}
    with pytest.raises(ValueError, match="no key"):
        vault.Sealed([new]).open(sealed)
