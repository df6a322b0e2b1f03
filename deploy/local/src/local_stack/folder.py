"""Where everything of one checkout's stack lives: `.local/`."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[4]


@dataclass(frozen=True)
class Folder:
    """Two folders never share a port, a process, a node name or a file."""

    path: Path

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def rabbitmq(self) -> Path:
        return self.path / "rabbitmq"

    @property
    def stack_env(self) -> Path:
        return self.path / "stack.env"

    @property
    def identity(self) -> str:
        """Short, the same at every call, different for every folder of this machine."""
        return hashlib.sha256(str(self.path.resolve()).encode()).hexdigest()[:12]

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def create(self) -> None:
        for path in (self.path, self.run, self.logs):
            path.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Two commands at once would start everything twice: the second waits."""
        self.create()
        with (self.path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def write_private(path: Path, text: str) -> None:
    """Readable by its owner only, and whole or not there at all."""
    partial = path.with_name(f"{path.name}.new")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    partial.rename(path)


def default_folder() -> Folder:
    return Folder(CHECKOUT / ".local")
