"""`trustlens rules`: what happens by itself when something happens, and why it did or did not."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer

from cli import api, rules_try
from cli.answers import Evaluated, Installed, Judged, RuleSchema, RuleShown, RuleWhy, SavedVersion, StarterShown
from cli.api import Api, ApiError
from cli.explanation import plain
from cli.ids import MAX_RULES, rule_id, whole
from cli.rule_files import File, read
from cli.rule_lines import considered, described, doubts, evaluation, language, listed, secrets, starter, version
from cli.webhooks import given
from shared.jsontext import dumps

T = TypeVar("T")

MAX_VERSIONS = 100

app = typer.Typer(help="Rules: what happens by itself, when and to whom.", no_args_is_help=True)

RuleName = Annotated[
    str, typer.Argument(metavar="RULE", help="Its name, or its id, or the id's first 8 characters or more.")
]
Customer = Annotated[str | None, typer.Option(help="E-mail address, or its hash.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print what the API answers.")]


def run_on(rule: str, work: Callable[[Api, UUID], Awaitable[T]]) -> T:
    """What `work` returns, done with the rule that is meant."""

    async def found(api: Api) -> T:
        return await work(api, await rule_id(api, rule))

    return api.run(found)


def show_saved(rule: RuleShown, *, as_json: bool, answer: Any) -> None:
    if as_json:
        typer.echo(dumps(answer))
        return
    typer.echo("\n".join([*described(rule), *secrets(rule), *doubts(rule.warnings, word="doubt")]))


# Writing --------------------------------------------------------------------------------------------------------------


@app.command()
def add(file: File, *, as_json: AsJson = False) -> None:
    """Save a new rule. Exit code 1: it is refused; each mistake is told with its place in the file."""
    draft = read(file)
    answer = api.run(lambda api: saved(api, draft, file, lambda: api.post("/rules", draft)))
    show_saved(RuleShown.model_validate(answer), as_json=as_json, answer=answer)


async def saved(api: Api, draft: Any, file: str, save: Callable[[], Awaitable[Any]]) -> Any:
    """What saving answers. What is refused for its fields is judged once more, for all places at once.

    Raises:
        ApiError: what is wrong, by place.
    """
    try:
        return await save()
    except ApiError as error:
        if not error.params or not isinstance(draft, dict):
            raise
        judged = Judged.model_validate(await api.post("/rules/validate", draft))
        if judged.valid:
            raise
        told = doubts(judged.errors, word=plain(file), draft=draft)
        raise ApiError("\n".join([*told, "Nothing was saved."]), status=error.status) from None


@app.command()
def validate(file: File, *, as_json: AsJson = False) -> None:
    """Say what is wrong with a rule, and what is doubtful, without saving it. Exit code 1: it would be refused."""
    draft = read(file)
    answer = api.run(lambda api: api.post("/rules/validate", draft))
    judged = Judged.model_validate(answer)
    typer.echo(dumps(answer) if as_json else "\n".join(judgement(judged, draft)))
    if not judged.valid:
        raise typer.Exit(1)


def judgement(judged: Judged, draft: Any) -> list[str]:
    ending = "It can be saved." if judged.valid else "It would be refused."
    return [
        *doubts(judged.errors, word="error", draft=draft),
        *doubts(judged.warnings, word="doubt", draft=draft),
        ending,
    ]


@app.command()
def edit(
    rule: RuleName,
    file: Annotated[str | None, typer.Argument(metavar="[FILE]", help="The whole rule in JSON; - reads it.")] = None,
    *,
    name: Annotated[str | None, typer.Option(help="How it is called.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for, for people.")] = None,
    cooldown: Annotated[
        int | None, typer.Option(min=0, help="Seconds for which it leaves a customer alone after it fired.")
    ] = None,
    hourly_limit: Annotated[int | None, typer.Option(min=1, help="Firings an hour, over all customers.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change a rule: to what a file says (`rules show --json` writes one), or the named fields only."""
    fields = given(name=name, description=description, cooldown=cooldown, hourly_limit=hourly_limit)
    if (file is None) == (not fields):
        raise typer.BadParameter("give a file, or the fields to change, as in --cooldown 600")
    body = fields if file is None else read(file)

    async def change(api: Api, found: UUID) -> Any:
        path = f"/rules/{found}"
        if file is None:
            return await api.patch(path, body)
        draft = {**body, "id": str(found)} if isinstance(body, dict) else body
        return await saved(api, draft, file, lambda: api.put(path, draft))

    answer = run_on(rule, change)
    show_saved(RuleShown.model_validate(answer), as_json=as_json, answer=answer)


@app.command()
def on(rule: RuleName) -> None:
    """Let a rule act."""
    _switch(rule, "live")


@app.command()
def off(rule: RuleName) -> None:
    """Let a rule rest: it is not even evaluated."""
    _switch(rule, "off")


@app.command()
def shadow(rule: RuleName) -> None:
    """Let a rule be evaluated and say what it would have done, without doing it."""
    _switch(rule, "shadow")


def _switch(rule: str, mode: str) -> None:
    switched = RuleShown.model_validate(run_on(rule, lambda api, found: api.patch(f"/rules/{found}", {"mode": mode})))
    told = plain(f"{switched.name} is {switched.mode} (version {switched.version}).")
    typer.echo("\n".join([told, *doubts(switched.warnings, word="doubt")]))


@app.command()
def delete(rule: RuleName, *, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Remove a rule and its versions. What waits for targets of its own is not sent any more."""
    found = RuleShown.model_validate(run_on(rule, lambda api, found: api.get(f"/rules/{found}")))
    if not yes:
        typer.confirm(plain(f"Delete {found.name}? `trustlens rules off` would keep it."), abort=True)
    api.run(lambda api: api.delete(f"/rules/{found.id}"))
    typer.echo(plain(f"{found.name} is deleted."))


@app.command()
def restore(rule: RuleName, number: Annotated[int, typer.Argument(metavar="VERSION", min=1)]) -> None:
    """Save an older version once more, as a new one; its mode is the older one's too."""
    answer = run_on(rule, lambda api, found: api.post(f"/rules/{found}/restore", {"version": number}))
    show_saved(RuleShown.model_validate(answer), as_json=False, answer=answer)


# Starting -------------------------------------------------------------------------------------------------------------


@app.command()
def starters(*, as_json: AsJson = False) -> None:
    """Rules to start from: what each does, what it needs, and whether it is installed."""
    found = api.run(lambda api: api.get("/rules/starters"))
    if as_json:
        typer.echo(dumps(found))
        return
    for one in map(StarterShown.model_validate, found):
        typer.echo("\n".join(starter(one)))
    typer.echo("`trustlens rules install KEY` makes a rule of one; it is off until `trustlens rules on`.")


@app.command()
def install(
    keys: Annotated[list[str] | None, typer.Argument(metavar="[KEY…]", help="None: all that can be.")] = None,
    *,
    webhook: Annotated[str | None, typer.Option(metavar="ID", help="The endpoint that webhooks go to.")] = None,
    webhook_url: Annotated[str | None, typer.Option(metavar="URL", help="Or the URL that they go to.")] = None,
    slack_url: Annotated[str | None, typer.Option(metavar="URL", help="Slack's incoming webhook.")] = None,
    email: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Who is told by e-mail.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make rules of starters, off. Exit code 1: one that was named lacks what it needs."""

    async def work(api: Api) -> Any:
        webhook_id = str(await whole(api, "/webhooks", webhook)) if webhook else None
        body = given(
            starters=keys or None, webhook_id=webhook_id, webhook_url=webhook_url, slack_url=slack_url, email=email
        )
        return await api.post("/rules/starters", body)

    answer = api.run(work)
    typer.echo(dumps(answer) if as_json else "\n".join(installed(Installed.model_validate(answer))))


def installed(answer: Installed) -> list[str]:
    lines = [plain(f"{left.starter} {left.message}.") for left in answer.skipped]
    for rule in answer.installed:
        lines += [*described(rule), *secrets(rule), *doubts(rule.warnings, word="doubt")]
    return [
        *lines,
        f"{len(answer.installed)} installed, {len(answer.skipped)} left out. `trustlens rules on RULE` lets one act.",
    ]


@app.command()
def schema(*, as_json: AsJson = False) -> None:
    """Print what rules are made of: triggers with what they know, fields with their operators, actions."""
    answer = api.run(lambda api: api.get("/rules/schema"))
    if as_json:
        typer.echo(dumps(answer))
        return
    typer.echo("\n".join(language(RuleSchema.model_validate(answer))))


# Looking --------------------------------------------------------------------------------------------------------------


@app.command("list")
def list_all(
    *,
    trigger: Annotated[str | None, typer.Option(help="Waiting for this event only.")] = None,
    mode: Annotated[str | None, typer.Option(help="live, shadow or off.")] = None,
    as_json: AsJson = False,
) -> None:
    """The rules of this store, the newest first."""
    query = given(trigger=trigger, mode=mode)
    found = api.run(lambda api: api.collect("/rules", limit=MAX_RULES, **query))
    if as_json:
        typer.echo(dumps(found))
        return
    for rule in map(RuleShown.model_validate, found):
        typer.echo("\n".join(listed(rule)))
    if not found:
        typer.echo("There is no such rule; `trustlens rules starters` shows some to begin with.")


@app.command()
def show(rule: RuleName, *, as_json: AsJson = False) -> None:
    """Print a rule in words; as JSON it can be edited and given to `rules edit`."""
    answer = run_on(rule, lambda api, found: api.get(f"/rules/{found}"))
    if as_json:
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False, default=float))
        return
    typer.echo("\n".join(described(RuleShown.model_validate(answer))))


@app.command()
def versions(rule: RuleName, *, as_json: AsJson = False) -> None:
    """What a rule was, the newest first: when it was saved, by whom, and what changed."""
    found = run_on(rule, lambda api, found: api.collect(f"/rules/{found}/versions", limit=MAX_VERSIONS))
    if as_json:
        typer.echo(dumps(found))
        return
    typer.echo("\n".join(version(SavedVersion.model_validate(one)) for one in found))


@app.command()
def log(
    rule: Annotated[str | None, typer.Argument(metavar="[RULE]", help="Without one: all rules of --customer.")] = None,
    *,
    outcome: Annotated[str | None, typer.Option(help="fired, skipped or failed.")] = None,
    customer: Customer = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """What was decided for each event, the newest first: fired or not, why, and what its actions came to."""
    if rule is None and customer is None:
        raise typer.BadParameter("name a rule, or a customer with --customer")
    query = given(outcome=outcome, **person(customer))

    async def work(api: Api) -> tuple[list[Any], Mapping[UUID, str]]:
        if rule is not None:
            path = f"/rules/{await rule_id(api, rule)}/evaluations"
            return await api.collect(path, limit=limit, **query), {}
        return await api.collect("/evaluations", limit=limit, **query), await names(api)

    found, called = api.run(work)
    if as_json:
        typer.echo(dumps(found))
        return
    for it in map(Evaluated.model_validate, found):
        name = called.get(it.rule_id, f"{it.rule_id}, deleted since") if rule is None else None
        typer.echo("\n".join(evaluation(it, rule=name)))
    if not found:
        typer.echo("Nothing was decided yet, or it is kept no longer. For one customer: trustlens rules why RULE EMAIL")


def person(customer: str | None) -> dict[str, str]:
    """How the API takes a customer: by address or by hash."""
    if customer is None:
        return {}
    return {"email" if "@" in customer else "customer": customer}


async def names(api: Api) -> dict[UUID, str]:
    found = await api.collect("/rules", limit=MAX_RULES)
    return {rule.id: rule.name for rule in map(RuleShown.model_validate, found)}


@app.command()
def why(
    rule: RuleName,
    customer: Annotated[str, typer.Argument(metavar="EMAIL", help="The customer's address, or its hash.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Say why a rule did not fire for a customer, or that it did: the newest events, each with the reason."""
    query = person(customer)
    answer = run_on(rule, lambda api, found: api.get(f"/rules/{found}/why", **query))
    if as_json:
        typer.echo(dumps(answer))
        return
    told = RuleWhy.model_validate(answer)
    typer.echo(plain(told.answer))
    for it in told.events:
        typer.echo("\n".join(considered(it)))


app.command("test")(rules_try.on_customer)
app.command("backtest")(rules_try.backtest)
