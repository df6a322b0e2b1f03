"""Settings that every service has. One frozen object, built once in `__main__`, passed down."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.secrets import Vault

SECRETS = Path("/run/secrets")
"""Where docker-compose and our Kubernetes manifests put secrets as files."""


def _keys(text: str) -> str:
    try:
        Vault(text)
    except ValueError:
        raise ValueError("each is 32 random bytes in URL-safe base64, 44 characters") from None
    return text


def _server(text: str) -> str:
    """Postgres takes several, host:port,host:port."""
    for place in urlsplit(text).netloc.rpartition("@")[2].split(","):
        try:
            _ = urlsplit(f"//{place}").port
        except ValueError:
            raise ValueError("names no port; of a password / is written %2F, # %23, ? %3F, @ %40") from None
    return text


Server = Annotated[str, AfterValidator(_server)]
"""A URL. What is no port is most often the half of a password."""
SecretKeys = Annotated[str, AfterValidator(_keys)]
"""A mistake in them is found at the start: with a key cut off, nothing sealed could be opened."""


class DatabaseSettings(BaseSettings):
    """Read from TRUSTLENS_* variables, and what these do not say from files of their names, in lower case."""

    model_config = SettingsConfigDict(
        env_prefix="TRUSTLENS_", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    database_url: Server = Field(pattern=r"^postgres(ql)?://.+")
    """postgresql://user:password@host:port/database"""


class Settings(DatabaseSettings):
    amqp_url: Server = Field(pattern=r"^amqps?://.+")
    """amqp://user:password@host:port/vhost"""
    secret_keys: SecretKeys
    """Fernet keys, comma-separated, newest first: they encrypt secrets at rest."""
    name_prefix: str = Field(default="", max_length=40)
    """Put before every exchange and queue name, so that several stacks can share a broker."""
    host: str = "127.0.0.1"
    """Address the service's HTTP port listens on."""
    port: int = Field(default=0, ge=0, le=65535)
    """HTTP port: the API itself for the api, health and metrics for the others. 0 = any free one."""
    statement_seconds: float = Field(default=60, gt=0, le=600)
    """How long a statement may take before its connection is given up: Postgres that hangs must not hang us."""
    pool_size: int = Field(default=10, ge=2, le=100)
    """Postgres connections per process."""
    drain_seconds: float = Field(default=20, ge=0, le=300)
    """How long a stopping service may finish what it has begun; below Kubernetes' default grace of 30 s."""
    batch_size: int = Field(default=200, ge=1, le=2000)
    """Most messages in one transaction."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least of what is logged."""
    log_format: Literal["auto", "console", "json"] = "auto"
    """How lines of the log look; auto: for people on a terminal, else JSON."""
    otlp_endpoint: str = Field(default="", pattern=r"^(https?://[^/].*)?$")
    """Where traces are sent, by OTLP over HTTP: http://collector:4318, to which /v1/traces is added. Empty: none are
    made. OTEL_EXPORTER_OTLP_ENDPOINT does not switch them on, as it may be meant for others; the sampler, headers and
    resource attributes are the standard OTEL_* variables."""


S = TypeVar("S", bound=DatabaseSettings)


def load(kind: type[S], secrets: Path = SECRETS) -> S:
    """The settings from the environment and the files of secrets; on mistakes prints all of them and exits with 2."""
    try:
        return kind(_secrets_dir=secrets if secrets.is_dir() else None)  # type: ignore[call-arg]  # pydantic's own
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)  # noqa: T201  # no logs yet
        raise SystemExit(2) from None
    except ValidationError as error:
        for mistake in error.errors():
            print(f"{_place(mistake['loc'])}: {mistake['msg']}", file=sys.stderr)  # noqa: T201  # no logs yet
        raise SystemExit(2) from None


def _place(location: Sequence[int | str]) -> str:
    """The variable, and of a list the item, counted from one."""
    name, *inside = location
    items = [f" item {part + 1}" for part in inside if isinstance(part, int)]
    return f"TRUSTLENS_{name}".upper() + "".join(items[:1])
