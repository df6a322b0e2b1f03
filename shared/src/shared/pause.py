"""Waiting that a stop interrupts."""

import asyncio


async def pause(seconds: float, stop: asyncio.Event) -> bool:
    """Wait that long, or until `stop` is set: then True at once."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True
