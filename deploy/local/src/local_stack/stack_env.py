"""`stack.env`: where the stack is and how to get in, as lines that a shell can source."""

import shlex
from collections.abc import Mapping

from local_stack.first_store import StoreAccess
from local_stack.folder import Folder, write_private

STORE_VARIABLES = {
    "store_id": "TRUSTLENS_STORE_ID",
    "api_key": "TRUSTLENS_API_KEY",
    "woocommerce_secret": "TRUSTLENS_WOOCOMMERCE_SECRET",
    "stripe_secret": "TRUSTLENS_STRIPE_SECRET",
}


def read(folder: Folder) -> dict[str, str]:
    if not folder.stack_env.exists():
        return {}
    words = shlex.split(folder.stack_env.read_text(), comments=True)
    return dict(word.split("=", 1) for word in words)


def write(folder: Folder, values: Mapping[str, str]) -> None:
    lines = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    write_private(folder.stack_env, "\n".join(lines) + "\n")


def known_keys(folder: Folder) -> str | None:
    """Those that the stack ran with last: they may have been rotated since the first were made."""
    return read(folder).get("TRUSTLENS_SECRET_KEYS")


def known_store(folder: Folder) -> StoreAccess | None:
    values = read(folder)
    if not all(name in values for name in STORE_VARIABLES.values()):
        return None
    return StoreAccess(**{field: values[name] for field, name in STORE_VARIABLES.items()})


def store_values(store: StoreAccess) -> dict[str, str]:
    return {name: getattr(store, field) for field, name in STORE_VARIABLES.items()}
