"""Whom a request is about: a customer is named by hash, or by an address that is hashed with the store's key."""

from aiohttp import web

from api.errors import ApiError, invalid
from api.schemas import OfCustomer
from api.state import STATE
from api.stores import Key
from shared.identity import email_hash, normalise_email


async def hash_of(request: web.Request, key: Key, address: str) -> str:
    """
    Raises:
        ApiError: 400, it is no address.
    """
    try:
        # No address has a blank: it was a plus that the caller did not encode.
        email = normalise_email(address.strip().replace(" ", "+"))
    except ValueError as error:
        raise invalid({"email": str(error)}) from None
    secrets = await request.app[STATE].stores.get(key.store_id)
    if secrets is None:
        raise ApiError(404, "trustlens_customer_not_found", "Customer not found.")
    return email_hash(secrets.hash_key, email)


async def customer_asked(request: web.Request, key: Key, asked: OfCustomer) -> str | None:
    """The hash of the customer that is asked for; None: nobody in particular."""
    return asked.customer if asked.email is None else await hash_of(request, key, asked.email)
