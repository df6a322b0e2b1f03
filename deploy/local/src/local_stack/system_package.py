"""Programs of the system: found on the machine, or installed by apt where that is possible."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local_stack.errors import StackError
from local_stack.folder import Folder

POLICY = Path("/usr/sbin/policy-rc.d")
INSTALLING = Path("/run/trustlens-install.lock")
"""Only root installs, and nobody else may write there."""
LOCK_SECONDS = 120  # somebody else's apt may be at work: as long as a slow mirror takes


@dataclass(frozen=True)
class SystemPackage:
    """A Debian package, wanted for one program."""

    name: str
    programs: tuple[str, ...]
    """Paths, and names to look for on the PATH: the first that is there is the program."""
    units: tuple[str, ...] = ()
    """What the package would start with the machine from now on."""
    instead: str = ""
    """What else helps whoever cannot install it; comes after "install it (…)"."""

    def program(self) -> Path:
        found = self._found()
        if found is None:
            raise StackError(f"{self.name} is missing: {self._remedy}.")
        return found

    def is_missing(self) -> bool:
        return self._found() is None

    def install(self, folder: Folder) -> None:
        """By apt, which writes to the folder's apt.log. No service of the system's own is started by it."""
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise StackError(f"{self.name} is missing: {self._remedy}.")
        with _alone():
            if not self.is_missing():
                return  # somebody else was quicker
            with _no_service_starts():
                self._apt(folder, "update")
                self._apt(folder, "install", "--yes", "--no-install-recommends", self.name)
        if self.units and shutil.which("systemctl"):
            # The package switches its own service on for the next boot; nobody asked for that one.
            subprocess.run(["systemctl", "disable", *self.units], check=False, capture_output=True)  # noqa: S603, S607 - root's own

    def _found(self) -> Path | None:
        return next((Path(found) for program in self.programs if (found := shutil.which(program))), None)

    @property
    def _remedy(self) -> str:
        return f"install it (Debian: apt-get install {self.name}){self.instead}"

    def _apt(self, folder: Folder, *arguments: str) -> None:
        folder.create()
        with folder.log("apt").open("ab") as log:
            done = subprocess.run(  # noqa: S603 - the system's own program
                ["apt-get", f"-oDPkg::Lock::Timeout={LOCK_SECONDS}", *arguments],  # noqa: S607 - wherever Debian has it
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                check=False,
            )
        if done.returncode != 0:
            raise StackError(f"`apt-get {' '.join(arguments)}` failed (see {folder.log('apt')}): {self._remedy}.")


RABBITMQ = SystemPackage(
    "rabbitmq-server",
    # Debian's command of this name insists on the system's user, data and logs; the first takes what it is given.
    programs=("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server"),
    units=("rabbitmq-server.service", "epmd.service", "epmd.socket"),
    instead=", or set TRUSTLENS_AMQP_URL to a RabbitMQ of your own (3.10 or newer)",
)


@contextmanager
def _alone() -> Iterator[None]:
    """Two stacks that begin at once on a bare machine install one after the other."""
    with INSTALLING.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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
