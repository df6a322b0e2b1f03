"""Secrets made once for a stack and kept beside it, readable by their owner only."""

import json
import secrets
from dataclasses import asdict, dataclass

from cryptography.fernet import Fernet

from local_stack.folder import Folder, write_private


@dataclass(frozen=True)
class Passwords:
    secret_key: str  # Fernet: what the services encrypt at rest with
    postgres: str
    rabbitmq: str
    cookie: str  # what an Erlang node asks of those who would control it


def kept(folder: Folder) -> Passwords:
    path = folder.path / "passwords.json"
    if not path.exists():
        write_private(path, json.dumps(asdict(_made()), indent=2) + "\n")
    return Passwords(**json.loads(path.read_text()))


def _made() -> Passwords:
    return Passwords(
        secret_key=Fernet.generate_key().decode(),
        postgres=secrets.token_hex(16),
        rabbitmq=secrets.token_hex(16),
        cookie=secrets.token_hex(16),
    )
