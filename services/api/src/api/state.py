"""What the handlers of all routes share."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from aiohttp import web

from api.ingest.intake import Intake
from api.recent import Recent
from api.stores import Key, StoreSecrets
from shared.broker import Broker
from shared.commands import Asker
from shared.db import Pool
from shared.secrets import Vault


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


STATE = web.AppKey("state", State)
