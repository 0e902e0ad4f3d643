"""From a bare Python to the project's own: makes `.venv` and installs what a requirements file pins.

Runs before anything is installed, so it needs the standard library alone. `bin/*` load this file by its path.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
_OLDEST = (3, 11)
_UV = "uv==0.13.9"


def hand_over(requirements: str, module: str, arguments: list[str]) -> None:
    """Installs what `requirements` names unless it is there, then becomes `python -m module arguments` in `.venv`.

    Ends the process with one sentence where that cannot be done.
    """
    prepare(requirements)
    os.chdir(ROOT)
    # The checkout is the import path, wherever the command was called from.
    os.execv(PYTHON, [str(PYTHON), "-m", module, *arguments])


def prepare(requirements: str) -> None:
    """Makes `.venv` hold what `requirements` names. Takes some milliseconds where it already does."""
    if sys.version_info < _OLDEST:
        _use_newer_python()
    wanted = _fingerprint(requirements)
    stamp = VENV / f"installed-{requirements}"
    if _holds(stamp, wanted):
        return
    (ROOT / ".data").mkdir(exist_ok=True)
    with (ROOT / ".data" / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Somebody else may have done it while we waited.
        if not _holds(stamp, wanted):
            started = time.monotonic()
            _install(requirements)
            stamp.write_text(wanted)
            _say(f"Installed {requirements} in {time.monotonic() - started:.1f} s.")


def _holds(stamp: Path, wanted: str) -> bool:
    return PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted


def _install(requirements: str) -> None:
    if not PYTHON.exists():
        _say(f"Making .venv with Python {sys.version_info.major}.{sys.version_info.minor} …")
        shutil.rmtree(VENV, ignore_errors=True)
        venv.create(VENV, with_pip=False, symlinks=True)
    uv = _uv()
    _say(f"Installing {requirements} …")
    command = [uv, "pip", "install", "--quiet", "--python", str(PYTHON), "--requirements", str(ROOT / requirements)]
    if subprocess.run(command, env=_uv_environment(), stdin=subprocess.DEVNULL).returncode != 0:
        raise SystemExit(f"The packages of {requirements} could not be installed; the lines above say why.")


def _uv() -> str:
    """The installer's path; fetched by whichever pip this Python can offer."""
    ours = VENV / "bin" / "uv"
    if ours.exists():
        return str(ours)
    fetch = ["install", "--quiet", "--disable-pip-version-check", _UV]
    ways = (
        [sys.executable, "-m", "pip", "--python", str(PYTHON), *fetch],
        [str(PYTHON), "-m", "pip", *fetch],
    )
    _say("Fetching uv, the installer …")
    if _quietly(ways[0]):
        return str(ours)
    if _quietly([str(PYTHON), "-m", "ensurepip", "--default-pip"]) and _quietly(ways[1]):
        return str(ours)
    elsewhere = shutil.which("uv")
    if elsewhere:
        return elsewhere
    if _install_pip_as_root() and _quietly(ways[0]):
        return str(ours)
    raise SystemExit(
        "uv could not be fetched: this Python has no pip, or pip no way out. On Debian: apt install python3-pip"
    )


def _install_pip_as_root() -> bool:
    apt = shutil.which("apt-get")
    if not apt or os.geteuid() != 0 or _quietly([sys.executable, "-m", "pip", "--version"]):
        return False
    _say("Installing python3-pip, which this machine lacks …")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    return _quietly([apt, "update"]) and _quietly([apt, "install", "--yes", "--no-install-recommends", "python3-pip"])


def _quietly(command: list[str]) -> bool:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def _uv_environment() -> dict[str, str]:
    """What pip was told about indexes and certificates, in uv's words."""
    same = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX", "PIP_CERT": "SSL_CERT_FILE"}
    told = {theirs: os.environ[ours] for ours, theirs in same.items() if ours in os.environ}
    return {**told, **os.environ}


def _fingerprint(requirements: str) -> str:
    """What decides whether an installation is current: the file, the files it includes, and the Python."""
    digest = hashlib.sha256(f"{sys.version_info[:2]}".encode())
    waiting = [requirements]
    while waiting:
        text = (ROOT / waiting.pop()).read_text()
        digest.update(text.encode())
        waiting += [line.split(maxsplit=1)[1].strip() for line in text.splitlines() if line.startswith("-r ")]
    return digest.hexdigest()


def _use_newer_python() -> None:
    for minor in (13, 12, 11, 14):
        newer = shutil.which(f"python3.{minor}")
        if newer:
            os.execv(newer, [newer, *sys.argv])
    raise SystemExit(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}.")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
