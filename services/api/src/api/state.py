"""What the handlers of all routes share."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from aiohttp import web

from api.gate import Gate
from api.ingest.intake import Intake
from api.limits import Limits
from api.recent import Recent
from api.stores import Key, StoreSecrets
from api.usage import Usage
from shared.broker import Broker
from shared.commands import Asker
from shared.db import Pool
from shared.egress import Network
from shared.secrets import Vault
from shared.targets import Reach


@dataclass(frozen=True, slots=True)
class State:
    pool: Pool
    vault: Vault
    broker: Broker
    asker: Asker
    command_within: timedelta
    intake: Intake
    keys: Recent[bytes, Key | None]
    """By SHA-256."""
    stores: Recent[UUID, StoreSecrets | None]
    gates: Recent[UUID, Gate | None]
    gate_seconds: float
    """After which it lets the shopper through."""
    body_seconds: float
    """How long a body may take to arrive."""
    usage: Usage
    """Of keys."""
    webhooks_seen: Usage
    """Of each store."""
    reach: Reach
    limits: Limits | None
    """None: keys may make as many requests as they like."""
    trusted_proxies: Sequence[Network]


STATE = web.AppKey("state", State)
