"""Processes that outlive the command that started them, and are known again by more than their number."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from local_stack.errors import StackError
from local_stack.folder import Folder

POLL_SECONDS = 0.05
LAST_LINES = 15

Signals = Sequence[tuple[signal.Signals, float]]
"""What to send, one after the other, and how many seconds to wait after each."""


@dataclass(frozen=True)
class Process:
    """One process of a stack. `run/<name>.pid` holds its number alone, for people and scripts."""

    name: str
    folder: Folder

    @property
    def pid_file(self) -> Path:
        return self.folder.run / f"{self.name}.pid"

    @property
    def _birth_file(self) -> Path:
        return self.folder.run / f"{self.name}.birth"

    @property
    def log(self) -> Path:
        return self.folder.log(self.name)

    def pid(self) -> int | None:
        """The number of the process if it runs. A number that now belongs to another process is nobody's."""
        try:
            pid, birth = int(self.pid_file.read_text()), self._birth_file.read_text()
        except (FileNotFoundError, ValueError):
            return None
        return pid if birth_of(pid) == birth else None

    def start(self, command: Sequence[str], *, env: Mapping[str, str]) -> int:
        """Returns at once. Output goes to the log; nothing of the caller's terminal is held."""
        with _uninterrupted():  # a Ctrl-C between the start and the note of it would leave a process nobody knows
            pid = self._spawn(command, env)
            # The birth first: a pid file without one is ignored, so no half-written pair is ever believed.
            self._birth_file.write_text(birth_of(pid) or "")
            self.pid_file.write_text(f"{pid}\n")
        return pid

    def _spawn(self, command: Sequence[str], env: Mapping[str, str]) -> int:
        # Not subprocess.Popen: its object would watch over a child that is meant to outlive it.
        return os.posix_spawnp(
            command[0],
            list(command),
            dict(env),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=(),
            # What a shell's `&` and Python itself ignore, a child would ignore too.
            setsigdef=(signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ),
        )

    def wait_until(self, ready: Callable[[], bool], *, seconds: float, since: int = 0) -> None:
        """`since` is the size of the log when the process was started: older lines explain nothing."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.pid() is None:
                raise StackError(f"{self.name} ended before it was ready; its log ends:\n{self.last_lines(since)}")
            if time.monotonic() > deadline:
                raise StackError(
                    f"{self.name} was not ready within {seconds:.0f} s; its log ends:\n{self.last_lines(since)}"
                )
            time.sleep(POLL_SECONDS)

    def stop(self, signals: Signals) -> None:
        stop_all([self], signals)

    def forget(self) -> None:
        """After its end."""
        self._reap()
        self.pid_file.unlink(missing_ok=True)
        self._birth_file.unlink(missing_ok=True)

    def log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def last_lines(self, since: int = 0) -> str:
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_bytes()[since:].decode(errors="replace").splitlines()[-LAST_LINES:])

    def _reap(self) -> None:
        # A dead child of this very process stays in the process table until somebody asks for its end.
        with suppress(FileNotFoundError, ValueError, ChildProcessError):
            os.waitpid(int(self.pid_file.read_text()), os.WNOHANG)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stop_all(processes: Sequence[Process], signals: Signals) -> None:
    """Send each signal to all that still run and wait its seconds for all of them, until none is left."""
    for number, seconds in signals:
        for pid in _pids(processes):
            with suppress(ProcessLookupError):  # it may end by itself in this very moment
                os.kill(pid, number)
        _wait_gone(processes, seconds)
    for process in processes:
        if process.pid() is not None:
            raise StackError(f"{process.name} (process {process.pid()}) does not end: look at {process.log}.")
        process.forget()


def _pids(processes: Sequence[Process]) -> list[int]:
    return [pid for process in processes if (pid := process.pid()) is not None]


def _wait_gone(processes: Sequence[Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _pids(processes) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def birth_of(pid: int) -> str | None:
    """When the process was born, in ticks of this boot: with the number, unique. None if it is dead or unreaped."""
    try:
        # The name in brackets may contain anything, brackets too; the fixed fields follow the last one.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, started = fields[0], fields[19]
    return None if state in "ZX" else f"{boot} {started}"
