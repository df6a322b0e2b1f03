"""A private RabbitMQ node from the system's programs: its own name, ports, cookie, data and name server."""

import os
import shutil
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from local_stack.folder import Folder, write_private
from local_stack.ports import require_free
from local_stack.process import Process
from local_stack.system_package import RABBITMQ

USER = "trustlens"
START_SECONDS = 120  # a first boot on one slow core
EPMD_START_SECONDS = 10
STOP_SIGNALS = ((signal.SIGTERM, 30.0), (signal.SIGKILL, 5.0))
# Answered by the broker with its own header or with Connection.Start: either way it listens.
AMQP_HEADER = b"AMQP\x00\x00\x09\x01"


@dataclass(frozen=True)
class RabbitMQ:
    folder: Folder
    amqp_port: int
    dist_port: int  # where the Erlang nodes of one machine talk, rabbitmqctl too
    epmd_port: int  # their name server; a private one, so that the machine's own is neither used nor started
    password: str
    cookie: str

    @property
    def url(self) -> str:
        return f"amqp://{USER}:{self.password}@127.0.0.1:{self.amqp_port}/"

    @property
    def process(self) -> Process:
        return Process("rabbitmq", self.folder)

    @property
    def epmd(self) -> Process:
        return Process("epmd", self.folder)

    @property
    def node(self) -> str:
        return f"trustlens-{self.folder.identity}@localhost"

    def launch(self) -> None:
        """Returns before it answers: a boot takes seconds that can be used. Starts nothing if it runs already."""
        self.folder.create()
        if self.process.pid() is not None:
            return
        server = RABBITMQ.program()
        require_free(self.folder, "rabbitmq", self.amqp_port)
        require_free(self.folder, "rabbitmq-dist", self.dist_port)
        self._configure()
        self._start_epmd()
        self.process.start([str(server)], env=self.environment())

    def wait_ready(self) -> None:
        self.process.wait_until(self._answers, seconds=START_SECONDS)

    def stop(self) -> None:
        self.process.stop(STOP_SIGNALS)
        self.epmd.stop(STOP_SIGNALS)

    def environment(self) -> Mapping[str, str]:
        """What the node runs with; rabbitmqctl reaches it with the same."""
        home = self.folder.rabbitmq
        return {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            "HOME": str(home),  # the cookie is looked for here
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.epmd_port),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.amqp_port),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_CONF_ENV_FILE": str(home / "none"),  # not the machine's, should it have one
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "none.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(home / "data"),
            "RABBITMQ_LOG_BASE": str(home),
            "RABBITMQ_LOGS": "-",  # to the output, which is the stack's log
            "RABBITMQ_SCHEDULER_BIND_TYPE": "u",  # two nodes bound to the same cores would share one of them
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "+sbwt none +sbwtdcpu none +sbwtdio none"  # busy waiting eats the cores of a small machine
                " -kernel inet_dist_use_interface {127,0,0,1} -start_epmd false"
            ),
            # Without it a shell stays in between, and the pid would be the shell's.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _configure(self) -> None:
        home = self.folder.rabbitmq
        home.mkdir(mode=0o700, exist_ok=True)
        cookie = home / ".erlang.cookie"
        if not cookie.exists():
            write_private(cookie, self.cookie)
            cookie.chmod(0o400)  # Erlang refuses a cookie that could be read by others
        write_private(home / "enabled_plugins", "[].\n")
        write_private(home / "rabbitmq.conf", "\n".join(self._settings()) + "\n")

    def _settings(self) -> list[str]:
        return [
            f"default_user = {USER}",
            f"default_pass = {self.password}",
            "disk_free_limit.absolute = 100MB",
            "vm_memory_high_watermark.relative = 0.4",
            "raft.wal_max_size_bytes = 64000000",  # the default keeps up to 512 MB of it in memory
            "log.console.level = warning",
        ]

    def _start_epmd(self) -> None:
        if self.epmd.pid() is not None:
            return
        require_free(self.folder, "epmd", self.epmd_port)
        command = [shutil.which("epmd") or "epmd", "-address", "127.0.0.1", "-port", str(self.epmd_port)]
        self.epmd.start(command, env=self.environment())
        self.epmd.wait_until(lambda: _connects(self.epmd_port), seconds=EPMD_START_SECONDS)

    def _answers(self) -> bool:
        # The port opens as the last step of the boot, after the default user was made.
        return _connects(self.amqp_port, greeting=AMQP_HEADER)


def _connects(port: int, greeting: bytes = b"") -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(greeting)
            return not greeting or bool(connection.recv(1))
    except OSError:
        return False
