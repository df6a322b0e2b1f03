"""The whole stack of one folder: up, down, status."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from local_stack import first_store, passwords, ports, stack_env
from local_stack.errors import StackError
from local_stack.first_store import StoreAccess
from local_stack.folder import Folder, default_folder
from local_stack.passwords import Passwords
from local_stack.postgres import Postgres
from local_stack.process import Process, stop_all
from local_stack.rabbitmq import RabbitMQ
from local_stack.services import SERVICES, STOP_SIGNALS, Service, ServiceProcess
from local_stack.system_package import RABBITMQ

Progress = Callable[[str], AbstractContextManager[object]]
"""Called with what is done now; left when it is done."""

FirstStore = Callable[[str, str, StoreAccess | None], StoreAccess]
"""(database URL, secret keys, the store known so far) → the store that the database has"""


def _silent(_: str) -> AbstractContextManager[object]:
    return nullcontext()


State = Literal["ready", "not ready", "down", "yours"]
"""`yours`: a server that TRUSTLENS_DATABASE_URL or TRUSTLENS_AMQP_URL names, which the stack leaves alone."""


@dataclass(frozen=True)
class Status:
    name: str
    state: State
    pid: int | None
    address: str


@dataclass(frozen=True)
class Stack:
    """By default the stack of this checkout, with the caller's environment."""

    folder: Folder = field(default_factory=default_folder)
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    services: tuple[Service, ...] = SERVICES
    migrations: str = "shared.migrations"  # python -m
    first_store: FirstStore = first_store.ensure
    postgres_settings: Mapping[str, str] = field(default_factory=dict)

    def up(self, progress: Progress = _silent) -> None:
        """Start what is down; what runs is left alone. Returns when everything is ready.

        Raises:
            StackError: it cannot; what was started so far keeps running, and `down` ends it.
        """
        with self.folder.locked():
            self._refuse_other_settings()
            self._install(progress)
            with progress("Starting Postgres"):
                self._launch_rabbitmq()  # its boot takes longest, and nobody needs it yet
                self._start_postgres()
            with progress("Bringing the database up to date"):
                self.migrate()
                self._write_stack_env()
            with progress("Starting RabbitMQ"):
                self._wait_for_rabbitmq()
            with progress("Starting the services"):
                self._start_services()

    def down(self, progress: Progress = _silent) -> None:
        """End what this folder's `up` started, and nothing else. Does nothing if nothing runs."""
        with self.folder.locked():
            with progress("Stopping the services"):
                stop_all([service.process for service in self._service_processes], STOP_SIGNALS)
                for service in self._service_processes:
                    service.forget_settings()
            with progress("Stopping RabbitMQ"):
                self.rabbitmq.stop()
            with progress("Stopping Postgres"):
                self.postgres.stop()

    def status(self) -> list[Status]:
        """What runs now, in the order of starting."""
        servers = [
            _server_status(self.postgres.process, self.database_url, own=self._own_postgres),
            _server_status(self.rabbitmq.process, self.amqp_url, own=self._own_rabbitmq),
        ]
        return servers + [_service_status(service) for service in self._service_processes]

    def runs(self) -> bool:
        """Whether anything of it runs."""
        return any(status.pid for status in self.status())

    def logs(self, name: str | None = None) -> list[Path]:
        """The log of one process, or those of all that have one by now.

        Raises:
            StackError: there is no such process, or nothing ran yet.
        """
        names = ["postgres", "rabbitmq", *(service.name for service in self.services)]
        if name is not None and name not in names:
            raise StackError(f"There is no log of {name}: it is one of {', '.join(names)}.")
        found = [path for path in map(self.folder.log, [name] if name else names) if path.exists()]
        if not found:
            raise StackError("Nothing has been logged yet: `trustlens up` starts the stack.")
        return found

    @property
    def api_url(self) -> str:
        return stack_env.read(self.folder)["TRUSTLENS_API_URL"]

    @property
    def database_url(self) -> str:
        return self.environ.get("TRUSTLENS_DATABASE_URL", self.postgres.url)

    @property
    def amqp_url(self) -> str:
        return self.environ.get("TRUSTLENS_AMQP_URL", self.rabbitmq.url)

    @cached_property
    def postgres(self) -> Postgres:
        return Postgres(self.folder, self._ports["postgres"], self._passwords.postgres, self.postgres_settings)

    @cached_property
    def rabbitmq(self) -> RabbitMQ:
        return RabbitMQ(
            self.folder,
            amqp_port=self._ports["rabbitmq"],
            dist_port=self._ports["rabbitmq-dist"],
            epmd_port=self._ports["epmd"],
            password=self._passwords.rabbitmq,
            cookie=self._passwords.cookie,
        )

    @property
    def _own_postgres(self) -> bool:
        # Somebody who sourced stack.env has our own address in the environment: that is no other server.
        return self.database_url == self.postgres.url

    @property
    def _own_rabbitmq(self) -> bool:
        return self.amqp_url == self.rabbitmq.url

    @cached_property
    def _ports(self) -> Mapping[str, int]:
        names = ["postgres", "rabbitmq", "rabbitmq-dist", "epmd", *(service.name for service in self.services)]
        self.folder.create()
        return ports.remembered(self.folder, names)

    @cached_property
    def _passwords(self) -> Passwords:
        self.folder.create()
        return passwords.kept(self.folder)

    @property
    def _secret_keys(self) -> str:
        return self._environment["TRUSTLENS_SECRET_KEYS"]

    @cached_property
    def _service_processes(self) -> list[ServiceProcess]:
        return [ServiceProcess(service, self.folder, self._ports[service.name]) for service in self.services]

    @property
    def _environment(self) -> dict[str, str]:
        """What the services run with: the caller's environment, with defaults where it says nothing."""
        return {
            "TRUSTLENS_SECRET_KEYS": stack_env.known_keys(self.folder) or self._passwords.secret_key,
            "TRUSTLENS_HOST": "127.0.0.1",
            "TRUSTLENS_ALLOW_HTTP": "true",
            "TRUSTLENS_ALLOWED_TARGETS": "127.0.0.0/8",
            **self.environ,
            "TRUSTLENS_DATABASE_URL": self.database_url,
            "TRUSTLENS_AMQP_URL": self.amqp_url,
        }

    def _write_stack_env(self) -> None:
        store = self.first_store(self.database_url, self._secret_keys, stack_env.known_store(self.folder))
        stack_env.write(self.folder, self._addresses() | stack_env.store_values(store))

    def _addresses(self) -> dict[str, str]:
        services = {_url_variable(process.service): process.url for process in self._service_processes}
        return {
            **services,
            "TRUSTLENS_DATABASE_URL": self.database_url,
            "TRUSTLENS_AMQP_URL": self.amqp_url,
            "TRUSTLENS_SECRET_KEYS": self._secret_keys,  # `trustlens stores create` seals a store's secrets
        }

    def _install(self, progress: Progress) -> None:
        if self._own_rabbitmq and RABBITMQ.is_missing():
            with progress("Installing RabbitMQ"):
                RABBITMQ.install(self.folder)

    def _launch_rabbitmq(self) -> None:
        if self._own_rabbitmq:
            self.rabbitmq.launch()

    def _wait_for_rabbitmq(self) -> None:
        if self._own_rabbitmq:
            self.rabbitmq.wait_ready()

    def _start_postgres(self) -> None:
        if self._own_postgres:
            self.postgres.start()

    def migrate(self) -> None:
        log = Process("migrations", self.folder)
        since = log.log_size()
        command = [sys.executable, "-m", self.migrations]
        with log.log.open("ab") as output:
            done = subprocess.run(  # noqa: S603 - our own module
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
            )
        if done.returncode != 0:
            raise StackError(f"The database could not be brought up to date:\n{log.last_lines(since)}")

    def _refuse_other_settings(self) -> None:
        """A running service keeps the settings it was started with: to say nothing would be to lie about them."""
        others = [p.service.name for p in self._service_processes if p.runs_with_others(self._environment)]
        if others:
            raise StackError(
                f"{', '.join(others)} run with other TRUSTLENS_* settings: first `trustlens down`, then `up`."
            )

    def _start_services(self) -> None:
        """
        Raises:
            StackError: some did not start; it tells of each of them.
        """
        launched = [(process, process.launch(self._environment)) for process in self._service_processes]
        faults = []
        for process, since in launched:
            try:
                process.wait_ready(since)
            except StackError as error:
                faults.append(str(error))
        if faults:
            raise StackError("\n".join(faults))


def _url_variable(service: Service) -> str:
    return f"TRUSTLENS_{service.name.upper().replace('-', '_')}_URL"


def _server_status(process: Process, url: str, *, own: bool) -> Status:
    pid = process.pid()
    address = urlsplit(url).netloc.rpartition("@")[2]  # without the password
    state: State = "ready" if pid else "down"
    return Status(process.name, state if own else "yours", pid, address)


def _service_status(process: ServiceProcess) -> Status:
    pid = process.process.pid()
    state: State = "down" if pid is None else "ready" if process.ready() else "not ready"
    return Status(process.service.name, state, pid, process.url)
