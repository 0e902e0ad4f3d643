"""What is written down holds no secret, wherever in a line it stands."""

import logging
import logging.config

import pytest
import structlog

from agents import vault
from helpmaton import logs

SECRET, KEY = (
    body + vault._checksum(body)
    for body in ("hms_PublicPart01" + "Sx7" * 10 + "yz", "hmk_PublicPart02" + "Kw9" * 10 + "yz")
)


@pytest.mark.parametrize(
    "line",
    [
        f"POST /api/streams/ws_1/ag_1/{SECRET} HTTP/1.1",
        f"{{'raw_path': b'/api/streams/ws/ag/{SECRET}/chat/stop'}}",
        f"Authorization: Bearer {KEY}",
        f"/api/streams/ws/ag/{SECRET.replace('_', '%5F')}",
        f"{SECRET},{KEY}",
    ],
)
def test_a_secret_is_cut_after_its_public_part(line):
    redacted = logs.redact(line)
    for secret in (SECRET, KEY, SECRET.replace("_", "%5F")):
        assert secret not in redacted
        assert secret[-20:] not in redacted
    assert SECRET[4:16] in redacted or KEY[4:16] in redacted


def test_a_sign_in_link_is_cut_off():
    token = "WyJ1c3JfMDFtIiwiIl0:1xVG:kT-w_"
    for path in (f"/sign-in/{token}", f"/%73ign-in/{token}", f"/sign-in/{token.replace(':', '%3A')}"):
        redacted = logs.redact(f'"GET {path} HTTP/1.1" 200')
        assert redacted.endswith('ign-in/… HTTP/1.1" 200')


def test_every_handler_writes_json_without_secrets(capsys):
    before = logging.root.handlers[:]
    logging.config.dictConfig(logs.configuration("DEBUG"))
    try:
        logging.getLogger("uvicorn.access").info("%s opened", SECRET)
        with structlog.contextvars.bound_contextvars(request_id="req_1"):
            structlog.get_logger("x").warning("failed", path=f"/{KEY}")
        try:
            raise ValueError(SECRET)
        except ValueError:
            logging.getLogger("y").exception("crashed")
    finally:
        logging.root.handlers[:] = before
    written = capsys.readouterr().err
    assert written.count("\n") == 3
    assert '"request_id":"req_1"' in written
    assert "ValueError" in written
    assert SECRET not in written
    assert KEY not in written
