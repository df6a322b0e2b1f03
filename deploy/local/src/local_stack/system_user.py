"""Postgres refuses to run as root: when we are root, it runs as `nobody`."""

import os
import pwd
from collections.abc import Iterable
from pathlib import Path

NAME = "nobody"  # on every Debian; no user has to be created for a stack that `make clean` removes


def owned(path: Path) -> None:
    """Hand a path to the user that Postgres runs as."""
    if os.geteuid() == 0:
        user = pwd.getpwnam(NAME)
        os.chown(path, user.pw_uid, user.pw_gid)


def prefix(paths: Iterable[Path]) -> list[str]:
    """What to put before a command that must not run as root, and needs to reach these paths.

    A checkout below a closed folder (/root) is out of reach for another user. Instead of opening
    the folder to everybody, the process then keeps the one capability to pass it.
    """
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam(NAME)
    command = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    if not all(_open_to_everybody(path) for path in paths):
        # Without the secure bit, access(2) looks at the user alone, and Postgres asks it about its programs.
        command += ["--securebits=+no_setuid_fixup", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [*command, "--"]


def _open_to_everybody(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)
