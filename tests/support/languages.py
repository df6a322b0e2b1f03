"""The programs that run the samples which are not Python; they are installed when a test first asks, where possible."""

import hashlib
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from local_stack.folder import CHECKOUT
from local_stack.system_package import SystemPackage
from support import servers

NODE = SystemPackage("nodejs", ("node", "nodejs"))
PHP = SystemPackage("php-cli", ("php",))


def present(package: SystemPackage) -> Path:
    """Its program."""
    if package.is_missing():
        with servers.guarded_folder() as folder:
            package.install(folder)
    return package.program()


NPM = SystemPackage("npm", ("npm",))
_NO_REGISTRY = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "E404", "E403")
"""What npm says where it cannot get at packages."""


def node_packages(folder: Path) -> Path:
    """A folder with the packages that package-lock.json in `folder` names, each checked by its hash.

    Skips the test where this machine reaches no registry.
    """
    lock = (folder / "package-lock.json").read_bytes()
    installed = CHECKOUT / ".local" / "npm" / hashlib.sha256(lock).hexdigest()[:16]
    if installed.exists():
        return installed
    installed.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=installed.parent) as making:
        place = Path(making) / "packages"
        shutil.copytree(folder, place)
        command = (present(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1")
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
        if any(reason in done.stderr for reason in _NO_REGISTRY):
            pytest.skip("npm cannot get at its packages here")
        assert done.returncode == 0, done.stderr
        with suppress(OSError):  # another run was quicker
            place.rename(installed)
    return installed
