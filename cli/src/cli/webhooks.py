"""`trustlens webhooks`: where this store's events are sent."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

import typer

from cli import api, deliveries
from cli.answers import Endpoint, Trial
from cli.api import Api, ApiError
from cli.explanation import plain
from cli.ids import run_on, whole
from shared.jsontext import dumps

DEFAULT_EVENTS = ("score_updated", "customer_blocked", "checkout_blocked", "high_risk_order")
"""What the guide subscribes an endpoint to that names no events."""
DEFAULT_TIMEOUT = 10
"""Seconds."""
MAX_LISTED = 1000
MAX_SAID = 200
"""Characters of a receiver's answer that are shown."""
_REACHED = {"first_byte", "body"}
"""Phases in which somebody has the request, and what is wrong is the answer."""

app = typer.Typer(help="Endpoints: where this store's events are sent.", no_args_is_help=True)

EndpointId = Annotated[
    str, typer.Argument(metavar="ID", help="As `trustlens webhooks list` shows it, or its first 8 characters or more.")
]
EventNames = Annotated[str | None, typer.Option(help="Comma-separated; empty for the four defaults.")]
Description = Annotated[str | None, typer.Option(help="What it is for, for people.")]
DeliveryMode = Annotated[
    str | None, typer.Option(help="fire_and_log: one attempt. retry: up to three more, and parked while it is down.")
]
Form = Annotated[str | None, typer.Option("--format", help="trustlens or slack.")]
IncludeEmail = Annotated[
    bool | None, typer.Option("--include-email/--no-email", help="Whether bodies carry the address.")
]
Timeout = Annotated[int | None, typer.Option(help="Seconds for the whole answer, 1 to 30.")]
Headers = Annotated[list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="Sent with every request.")]
Filter = Annotated[str | None, typer.Option(metavar="JSON", help="A condition; only events that meet it are sent.")]
PermanentCodes = Annotated[str | None, typer.Option(help="Statuses after which nothing is tried again: 401,422.")]
StandardWebhooks = Annotated[
    bool | None,
    typer.Option("--standard-webhooks/--no-standard-webhooks", help="Send Standard Webhooks headers beside ours."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print what the API answers.")]


def given(**fields: Any) -> dict[str, Any]:
    """Without those that were not asked for."""
    return {name: value for name, value in fields.items() if value is not None}


def names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def codes(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(code) for code in names(text) or ()]
    except ValueError:
        raise typer.BadParameter("statuses are numbers, as in --permanent-codes 401,422") from None


def header_fields(words: Sequence[str] | None) -> dict[str, str] | None:
    """`NAME=VALUE` words; a value may hold an equals sign."""
    if not words:
        return None
    pairs = [word.partition("=") for word in words]
    if not all(equals and name.strip() for name, equals, _ in pairs):
        raise typer.BadParameter('a header is NAME=VALUE, as in --header "Authorization=Bearer …"')
    return {name.strip(): value.strip() for name, _, value in pairs}


def condition(text: str | None) -> Any:
    """
    Raises:
        BadParameter: no JSON.
    """
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        raise typer.BadParameter(
            'a filter is a condition in JSON, as in \'{"field": "trust_score", "operator": "<", "value": 40}\''
        ) from None


# Setting up -----------------------------------------------------------------------------------------------------------


def takeable(context: typer.Context, url: str) -> str:
    """Refuse a URL that the API would refuse, before anything else is asked for. One that is typed is asked for again.

    Raises:
        ApiError: it was given as an option.
        BadParameter: it was typed.
    """
    source = context.get_parameter_source("url")  # none yet while it is being typed
    if source and source.name == "PROMPT":  # it was judged then
        return url
    refused = api.run(lambda api: refusal(api, url))
    if refused is None:
        return url
    if source:
        raise refused
    raise typer.BadParameter(f"the URL {refused.params['url']}")


async def refusal(api: Api, url: str) -> ApiError | None:
    """What the API says of a URL that it does not take."""
    try:
        await api.post("/webhooks/validate", {"url": url})
    except ApiError as error:
        if "url" in error.params:
            return error
        if error.status not in {400, 404}:  # about another field, or an API that is older: it says so in the end
            raise
    return None


@app.command()
def add(
    *,
    url: Annotated[str, typer.Option(prompt="Destination URL", callback=takeable, help="Where events are POSTed.")],
    secret: Annotated[
        str,
        typer.Option(
            prompt="Signing secret (blank: one is generated)",
            hide_input=True,
            show_default=False,
            envvar="TRUSTLENS_WEBHOOK_SECRET",
            help="32 characters or more; empty for a generated one.",
        ),
    ] = "",
    events: Annotated[
        str, typer.Option(prompt="Events, comma-separated", help="What is sent; empty for the four defaults.")
    ] = ",".join(DEFAULT_EVENTS),
    description: Description = None,
    delivery: DeliveryMode = None,
    form: Form = None,
    include_email: IncludeEmail = None,
    timeout: Timeout = None,
    header: Headers = None,
    filter_: Annotated[str | None, typer.Option("--filter", metavar="JSON", help="Only events that meet it.")] = None,
    permanent_codes: PermanentCodes = None,
    standard_webhooks: StandardWebhooks = None,
) -> None:
    """Set up an endpoint: URL, secret, events, and a test delivery. What is not given is asked for.

    Exit code 1: the endpoint was refused, or is there and did not take the test.
    """
    body = given(
        url=url,
        secret=secret or None,
        events=names(events),
        description=description,
        delivery=delivery,
        format=form,
        include_email=include_email,
        timeout=timeout,
        headers=header_fields(header),
        filter=condition(filter_),
        permanent_codes=codes(permanent_codes),
        standard_webhooks=standard_webhooks,
    )
    if not api.run(lambda api: set_up(api, body)).ok:
        raise typer.Exit(1)


async def set_up(api: Api, body: Mapping[str, Any]) -> Trial:
    """Create, say so, test, and say what the receiver said: the secret is on the screen whatever follows."""
    made = Endpoint.model_validate(await api.post("/webhooks", dict(body)))
    typer.echo("\n".join(created(made)))
    if made.secret and sys.stdin.isatty():
        typer.prompt("Give it to the receiver, then press Enter for the test", default="", show_default=False)
    typer.echo("Sending the test delivery …")
    tested = await send_test(api, made.id)
    typer.echo(f"What is sent from now on: trustlens webhooks log {made.id}")
    return tested


def created(made: Endpoint) -> list[str]:
    lines = [f"Endpoint {made.id} gets {', '.join(map(plain, made.events))}."]
    if made.secret:
        lines.append(f"Its signing secret, shown only now: {made.secret}")
    return lines + [f"Warning: {plain(warning)}." for warning in made.warnings]


async def send_test(api: Api, endpoint_id: UUID) -> Trial:
    tested = Trial.model_validate(await api.post(f"/webhooks/{endpoint_id}/test"))
    typer.echo("\n".join(outcome(tested, endpoint_id)))
    return tested


def outcome(tested: Trial, endpoint_id: UUID) -> list[str]:
    """What a test came to, what the receiver said, and where it failed what to do about it."""
    took = f"{tested.duration_ms:,} ms"
    lines = [f"The receiver answered HTTP {tested.status_code} in {took}." if tested.status_code else ""]
    if tested.error:
        lines.append(f"It failed after {took}, at {tested.error.phase}: {plain(tested.error.message or 'no reason')}.")
    if tested.body.strip():
        lines.append(f"It said: {plain(tested.body.strip())[:MAX_SAID]}")
    if not tested.ok:
        lines.append(f"{advice(tested)} Then: trustlens webhooks test {endpoint_id}")
    return [line for line in lines if line]


def advice(tested: Trial) -> str:
    if tested.error and tested.error.phase in _REACHED:
        return "The receiver was reached: it must answer 2xx, in whole and in time, before it works. Look into its log."
    match tested.status_code:
        case None:
            return "Nothing arrived there: check the URL, and that the receiver can be reached from TrustLens."
        case 401 | 403:
            return "It does not believe us: check that it has this secret and verifies the raw bytes of the body."
        case 404 | 405:
            return "Nothing takes POSTs there: check the path of the URL (`trustlens webhooks edit ID --url URL`)."
        case code if 300 <= code < 400:
            return (
                "Redirects are not followed: give the URL that it points to (`trustlens webhooks edit ID --url URL`)."
            )
        case _:
            return "A receiver must answer 2xx: look into its log."


@app.command()
def test(endpoint_id: EndpointId) -> None:
    """Send a sample now and print what the receiver said. Exit code 1: it did not take it."""
    if not run_on("/webhooks", endpoint_id, try_out).ok:
        raise typer.Exit(1)


async def try_out(api: Api, endpoint_id: UUID) -> Trial:
    """An endpoint that is off gets a test all the same; that it gets nothing else is said."""
    endpoint = Endpoint.model_validate(await api.get(f"/webhooks/{endpoint_id}"))
    if not endpoint.enabled:
        typer.echo("\n".join(warned(endpoint)))
    return await send_test(api, endpoint_id)


def warned(endpoint: Endpoint) -> list[str]:
    return [
        f"The endpoint is {state(endpoint)}. It gets this test, and nothing else until:",
        f"trustlens webhooks edit {endpoint.id} --enable",
    ]


# Looking and changing -------------------------------------------------------------------------------------------------


@app.command("list")
def list_all(*, json: AsJson = False) -> None:
    """The endpoints of this store, the newest first."""
    found = api.run(lambda api: api.collect("/webhooks", limit=MAX_LISTED))
    if json:
        typer.echo(dumps(found))
        return
    for endpoint in map(Endpoint.model_validate, found):
        typer.echo("\n".join(described(endpoint)))
    if not found:
        typer.echo("There is no endpoint yet; `trustlens webhooks add` sets one up.")


def described(endpoint: Endpoint) -> list[str]:
    about = [plain(endpoint.description)] if endpoint.description else []
    return [
        f"{endpoint.id}  {state(endpoint)}",
        *(f"  {line}" for line in outage(endpoint)),
        f"  {plain(endpoint.url)}",
        *(f"  {line}" for line in about),
        f"  {', '.join(map(plain, endpoint.events))}",
        *(f"  {line}" for line in settings(endpoint)),
    ]


def state(endpoint: Endpoint) -> str:
    return "on" if endpoint.enabled else f"off: {plain(endpoint.disabled_reason or 'by hand')}"


def outage(endpoint: Endpoint) -> list[str]:
    """While it is down: since when, and when one of the deliveries that wait for its end is tried."""
    if endpoint.outage_since is None:
        return []
    return [f"down since {plain(endpoint.outage_since)}, next probe due at {plain(endpoint.next_probe_at or 'once')}"]


def settings(endpoint: Endpoint) -> list[str]:
    """How it is sent to: whether with retries, and whatever else is not as it is by default."""
    said = {
        endpoint.delivery: True,
        f"format {endpoint.format}": endpoint.format != "trustlens",
        "no e-mail": not endpoint.include_email,
        f"timeout {endpoint.timeout} s": endpoint.timeout != DEFAULT_TIMEOUT,
        f"final: {', '.join(map(str, endpoint.permanent_codes))}": bool(endpoint.permanent_codes),
        "Standard Webhooks": endpoint.standard_webhooks,
        f"headers {', '.join(endpoint.headers)}": bool(endpoint.headers),
        f"two secrets sign until {endpoint.overlap_until}": endpoint.overlap_until is not None,
    }
    kept = [f"filter {dumps(endpoint.filter)}"] if endpoint.filter is not None else []
    return [plain(line) for line in ("; ".join(part for part, holds in said.items() if holds), *kept)]


@app.command()
def edit(
    endpoint_id: EndpointId,
    *,
    url: Annotated[str | None, typer.Option(help="Where events are POSTed.")] = None,
    events: EventNames = None,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="Whether anything is sent.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why it is disabled.")] = None,
    description: Description = None,
    delivery: DeliveryMode = None,
    form: Form = None,
    include_email: IncludeEmail = None,
    timeout: Timeout = None,
    header: Headers = None,
    drop_header: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Not sent any more.")] = None,
    filter_: Annotated[
        str | None, typer.Option("--filter", metavar="JSON", help="Only events that meet it; null: all.")
    ] = None,
    permanent_codes: PermanentCodes = None,
    standard_webhooks: StandardWebhooks = None,
) -> None:
    """Change an endpoint; what is not named stays. Its secret is changed by `rotate`."""
    if enabled and reason is not None:
        raise typer.BadParameter("--reason says why an endpoint is off: it does not go with --enable")
    fields = given(
        url=url,
        events=names(events),
        enabled=enabled,
        disabled_reason=reason,
        description=description,
        delivery=delivery,
        format=form,
        include_email=include_email,
        timeout=timeout,
        permanent_codes=codes(permanent_codes),
        standard_webhooks=standard_webhooks,
    )
    if filter_ is not None:
        fields["filter"] = condition(filter_)
    new_headers, dropped = header_fields(header) or {}, drop_header or []
    if not fields and not new_headers and not dropped:
        raise typer.BadParameter("nothing to change: name a field, as in --disable or --url URL")
    changed = run_on("/webhooks", endpoint_id, lambda api, found: change(api, found, fields, new_headers, dropped))
    typer.echo("\n".join(described(changed)))


async def change(
    api: Api, endpoint_id: UUID, fields: Mapping[str, Any], new_headers: Mapping[str, str], dropped: Sequence[str]
) -> Endpoint:
    """Headers are changed one by one: a value that comes back masked stays as it is."""
    path, patch = f"/webhooks/{endpoint_id}", dict(fields)
    if new_headers or dropped:
        patch["headers"] = merged(Endpoint.model_validate(await api.get(path)).headers, new_headers, dropped)
    return Endpoint.model_validate(await api.patch(path, patch))


def merged(there: Mapping[str, str], new: Mapping[str, str], dropped: Sequence[str]) -> dict[str, str]:
    """Names are the same in all capitals.

    Raises:
        ApiError: one that is dropped is not there.
    """
    known = {name.lower() for name in there}
    if missing := [name for name in dropped if name.lower() not in known]:
        those = f"there are {', '.join(there)}" if there else "there are none"
        raise ApiError(plain(f"There is no header {', '.join(missing)} to drop: {those}."))
    replaced = {name.lower() for name in (*new, *dropped)}
    return {name: value for name, value in there.items() if name.lower() not in replaced} | dict(new)


@app.command()
def delete(endpoint_id: EndpointId, *, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Remove an endpoint; what waits for it is cancelled, its log stays."""
    found = api.run(lambda api: whole(api, "/webhooks", endpoint_id))
    if not yes:
        typer.confirm(f"Delete {found}? `trustlens webhooks edit --disable` would keep it.", abort=True)
    api.run(lambda api: api.delete(f"/webhooks/{found}"))
    typer.echo(f"{found} is deleted.")


@app.command()
def log(
    endpoint_id: EndpointId,
    *,
    status: deliveries.Status = None,
    event: deliveries.EventName = None,
    limit: deliveries.Limit = 20,
    json: AsJson = False,
) -> None:
    """The deliveries of an endpoint, the newest first."""
    query = given(status=status, event=event)
    found = run_on(
        "/webhooks",
        endpoint_id,
        lambda api, found: api.collect(f"/webhooks/{found}/deliveries", limit=limit, **query),
    )
    deliveries.print_list(found, json=json)
    if not json and not found:
        typer.echo("Nothing was sent to it yet.")


@app.command()
def rotate(
    endpoint_id: EndpointId,
    *,
    secret: Annotated[
        str | None, typer.Option(help="The next secret; empty for a generated one. Not given, it is asked for.")
    ] = None,
    overlap: Annotated[int | None, typer.Option(min=0, help="Seconds for which both secrets sign.")] = None,
    end: Annotated[bool, typer.Option("--end", help="End the overlap: the new secret alone signs.")] = False,
) -> None:
    """Change an endpoint's secret without losing a delivery: for a while both sign."""
    if end:
        run_on("/webhooks", endpoint_id, lambda api, found: api.post(f"/webhooks/{found}/end-overlap"))
        typer.echo("The new secret alone signs from now on.")
        return
    if secret is None:
        secret = typer.prompt(
            "New signing secret (blank: one is generated)", default="", hide_input=True, show_default=False
        )
    body = given(secret=secret or None, overlap=overlap)
    answer = run_on("/webhooks", endpoint_id, lambda api, found: api.post(f"/webhooks/{found}/rotate-secret", body))
    typer.echo("\n".join(rotated(Endpoint.model_validate(answer), overlap)))


def rotated(endpoint: Endpoint, overlap: int | None) -> list[str]:
    lines = [f"The new secret, shown only now: {endpoint.secret}"] if endpoint.secret else []
    lines += [f"Warning: {plain(warning)}." for warning in endpoint.warnings]
    if overlap == 0:
        return [*lines, "It alone signs from now on: give it to the receiver at once."]
    return [
        *lines,
        "Both secrets sign for now: X-TrustLens-Signature is still the old one's, X-TrustLens-Signature-Next",
        f"the new one's. Give the new one to the receiver, then: trustlens webhooks rotate {endpoint.id} --end",
    ]
