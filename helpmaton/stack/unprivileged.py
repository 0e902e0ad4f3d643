"""PostgreSQL refuses to run as root. Started by root, it runs as `nobody`; started by anyone else, as that user."""

import ctypes
import os
import pwd
import stat
import struct
import sys
from collections.abc import Callable
from pathlib import Path

_ACCOUNT = "nobody"

# From linux/prctl.h, linux/securebits.h and linux/capability.h; Python has no names for them.
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1


class Unreachable(Exception):
    """The account cannot enter a folder; the message says which, and what helps."""


def account() -> pwd.struct_passwd | None:
    """The account to step down to, or None where the present user will do."""
    return pwd.getpwnam(_ACCOUNT) if os.geteuid() == 0 else None


def give(path: Path) -> None:
    """Makes `path` the account's own, closed to others; does nothing for an ordinary user."""
    path.chmod(0o700 if path.is_dir() else 0o600)
    if owner := account():
        os.chown(path, owner.pw_uid, owner.pw_gid)


def step_down(*paths: Path) -> Callable[[], None] | None:
    """What a child has to call before it executes a program in one of `paths`; None where it may stay who it is.

    A checkout below a closed folder such as `/root` stays closed: instead of opening it to everybody, the child keeps
    the one capability that walks through. Raises Unreachable where the machine does not grant that.
    """
    owner = account()
    if owner is None:
        return None
    closed = [folder for path in paths for folder in path.resolve().parents if not _open_to_others(folder)]
    if closed and sys.platform != "linux":
        raise Unreachable(f"PostgreSQL does not run as root, and {_ACCOUNT} cannot enter {closed[0]}: chmod o+x it.")

    def become() -> None:
        libc = ctypes.CDLL(None, use_errno=True) if closed else None
        if libc:
            # Without it access(2), which PostgreSQL asks about its own binaries, would not know of the capability.
            _call(libc.prctl, _PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
        os.setgroups([])
        os.setgid(owner.pw_gid)
        os.setuid(owner.pw_uid)
        if libc:
            header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
            bit = 1 << _CAP_DAC_OVERRIDE
            _call(libc.capset, header, struct.pack("6I", bit, bit, bit, 0, 0, 0))
            _call(libc.prctl, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)

    return become


def _open_to_others(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IXOTH)


def _call(function: Callable[..., int], *arguments: int | bytes) -> None:
    if function(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
