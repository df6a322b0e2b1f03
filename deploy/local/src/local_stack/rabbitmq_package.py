"""RabbitMQ's programs: found on the machine, or installed by apt where that is possible."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_stack.errors import StackError
from local_stack.folder import Folder

# Debian's command of this name insists on the system's user, data and logs; this one takes what it is given.
DEBIAN_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
POLICY = Path("/usr/sbin/policy-rc.d")
UNITS = ("rabbitmq-server.service", "epmd.service", "epmd.socket")
INSTEAD = "or set TRUSTLENS_AMQP_URL to a RabbitMQ of your own (3.10 or newer)"


def server() -> Path:
    """The program that runs a node in the foreground."""
    found = _found()
    if found is None:
        raise StackError(f"rabbitmq-server is missing: install it, {INSTEAD}.")
    return found


def is_missing() -> bool:
    return _found() is None


def _found() -> Path | None:
    if DEBIAN_SERVER.exists():
        return DEBIAN_SERVER
    elsewhere = shutil.which("rabbitmq-server")
    return Path(elsewhere) if elsewhere else None


def install(folder: Folder) -> None:
    """By apt, which writes to the folder's apt.log. No service of the system's own is started by it."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise StackError(
            f"rabbitmq-server is missing: install it (Debian: apt-get install rabbitmq-server), {INSTEAD}."
        )
    with _no_service_starts():
        _apt(folder, "update")
        _apt(folder, "install", "--yes", "--no-install-recommends", "rabbitmq-server")
    if shutil.which("systemctl"):
        # The package switches its own node on for the next boot; nobody asked for that one.
        subprocess.run(["systemctl", "disable", *UNITS], check=False, capture_output=True)  # noqa: S603, S607 - root's own


def _apt(folder: Folder, *arguments: str) -> None:
    with folder.log("apt").open("ab") as log:
        done = subprocess.run(  # noqa: S603 - the system's own program
            ["apt-get", *arguments],  # noqa: S607 - wherever this Debian has it
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            check=False,
        )
    if done.returncode != 0:
        raise StackError(
            f"`apt-get {' '.join(arguments)}` failed (see {folder.log('apt')}): "
            f"install rabbitmq-server yourself, {INSTEAD}."
        )


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Debian starts what it installs, unless this file answers 101. One that is there already stays as it is."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()
