"""The programs that run the samples which are not Python; they are installed when a test first asks, where possible."""

from pathlib import Path

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
