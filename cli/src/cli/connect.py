"""`trustlens connect`: a WooCommerce store's webhooks made, its old orders taken in."""

from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

import typer

from cli import api, jobs, stack_env, store_results, sync
from cli.api import Api
from cli.replay import ingest_url
from local_stack.errors import StackError


def command(
    url: Annotated[str, typer.Argument(help="The store's address, as https://shop.example.")],
    *,
    key: Annotated[
        str | None, typer.Option(envvar="TRUSTLENS_CONSUMER_KEY", help="Consumer key; asked for, typed unseen.")
    ] = None,
    secret: Annotated[
        str | None, typer.Option(envvar="TRUSTLENS_CONSUMER_SECRET", help="Consumer secret; likewise.")
    ] = None,
    delivery_url: Annotated[
        str, typer.Option(help="Where the store reaches TrustLens, as https://trust.example; else TRUSTLENS_API_URL.")
    ] = "",
    and_sync: Annotated[bool, typer.Option("--sync/--no-sync", help="Take in what it sold before.")] = True,
) -> None:
    """Make a WooCommerce store's webhooks through its REST API, and take in its old orders.

    The key needs the permission Read/Write; WooCommerce makes one under Settings > Advanced > REST API. May be run
    again: webhooks that are there are kept, and those that the store switched off are switched on.
    Exit code 1: it failed, or orders were skipped; the words say which.
    """
    env = stack_env.read()
    base = delivery_url or reachable(stack_env.need(env, "TRUSTLENS_API_URL"), url)
    means = credentials(key, secret)
    connected = jobs.followed(api.run(lambda api: begin(api, url, means, base)))
    store_results.show(connected)
    if connected.state != "done":
        raise typer.Exit(1)
    if and_sync:
        sync.from_store({})


def credentials(key: str | None, secret: str | None) -> dict[str, str]:
    """Asked for where they are not given. Empty: those that are saved."""
    if key is None:
        key = typer.prompt("Consumer key (blank: as it is saved)", default="", hide_input=True, show_default=False)
    if key and secret is None:
        secret = typer.prompt("Consumer secret", hide_input=True)
    return {"key": key.strip(), "secret": (secret or "").strip()} if key else {}


async def begin(api: Api, url: str, means: dict[str, str], base: str) -> str:
    """The id of the job."""
    store = await api.get("/store")
    given = {"url": url, **({"woocommerce": means} if means else {})}
    answer = await api.post("/store/connect", {"delivery_url": delivered_to(base, store["id"]), **given})
    return str(answer["job_id"])


def delivered_to(base: str, store_id: str) -> str:
    """`base`: TrustLens' address as the store reaches it, or the whole ingest URL."""
    return base if "/ingest/woocommerce/" in base else ingest_url(base, store_id)


def reachable(api_url: str, shop_url: str) -> str:
    """
    Raises:
        StackError: the store would have to reach this machine by an address that is its own.
    """
    if _is_local(api_url) and not _is_local(shop_url):
        raise StackError(
            f"The store cannot reach TrustLens at {api_url}: give --delivery-url, its address as the store sees it."
        )
    return api_url


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
