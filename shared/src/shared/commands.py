"""Commands: whoever wants a change asks the service that owns the table, and gets its answer.

Each command has an id. Its answer is stored in the commit of its effect, so the same id again returns that answer.
A rule's command goes through the outbox, without deadline or reply: what came of it is read from commands_seen. It has
a queue of its own, lest a rule that fires a thousand times keep people waiting.
"""

import asyncio
import json
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiormq.abc
import structlog
from pamqp.commands import Basic
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json, to_json

from shared import traces
from shared.broker import BROKER_ERRORS, Broker
from shared.consumer import Message
from shared.db import Connection, is_transient
from shared.events import Cause, Wire
from shared.ids import uuid7
from shared.metrics import COMMANDS
from shared.mistakes import mistakes
from shared.outbox import Outbox, Transaction
from shared.secrets import Vault

log = structlog.get_logger()

DEADLINE = timedelta(seconds=5)
BEGUN_REMEMBERED = 1000
"""Background commands that are not begun again when their message is."""
BACKGROUND_AT_ONCE = 32
"""Commands that wait for the outside (test deliveries) running beside the consumer."""
REPLY_TO = "amq.rabbitmq.reply-to"


class Command(Wire):
    id: UUID
    type: str
    store_id: UUID
    actor: str
    """Who asked: `key:<prefix>`, `rule:<id>`, `cli`."""
    deadline: datetime | None = None
    """After it the owner drops the command unexecuted. None: it is executed, or refused, however late."""
    cause: Cause | None = None
    """Of a rule's command: what it leads to continues the chain that the rule is in."""
    data: Mapping[str, Any] = Field(default_factory=dict)
    """Parsed by the owner's own model."""


class Refusal(Wire):
    """Why a command was not executed, as the API will say it."""

    status: int
    code: str
    message: str
    params: Mapping[str, str] = Field(default_factory=dict)
    """Field name to what is wrong with it."""


class Answer(Wire):
    body: Any = None
    refusal: Refusal | None = None


class RefusedError(Exception):
    """Raised by a handler: nothing is changed, the asker gets the refusal."""

    def __init__(self, status: int, code: str, message: str, params: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.refusal = Refusal(status=status, code=code, message=message, params=params or {})


class NoAnswerError(Exception):
    """The deadline passed without an answer; the owner will not execute it any more."""


def invalid(params: Mapping[str, str]) -> RefusedError:
    """The refusal of bad fields, by name, in WordPress' words."""
    names = ", ".join(params)
    return RefusedError(400, "rest_invalid_param", f"Invalid parameter(s): {names}", params)


def parse(model: type[BaseModel], data: object, *, context: object = None) -> Any:
    """
    Raises:
        RefusedError: 400, each bad field with what is wrong.
    """
    try:
        return model.model_validate(data, context=context)
    except ValidationError as error:
        raise invalid(mistakes(error)) from None


Handler = Callable[[Transaction, Command], Awaitable[Any]]
"""Executes a command inside the transaction; returns the answer's body; raises RefusedError."""
BackgroundHandler = Callable[[Command], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A command with where its answer goes."""

    command: Command
    reply_to: str | None
    correlation_id: str | None
    message_id: str = ""
    """A rule's command comes in a message of another id than its own."""


def parse_asked(message: Message) -> Asked:
    return Asked(Command.model_validate_json(message.body), message.reply_to, message.correlation_id, message.id)


class Commands:
    """The owner's side. `process` is the consumer's handler for `<service>.commands`.

    With a vault the stored answers are sealed: for owners that show a generated secret once, in an answer.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        broker: Broker,
        schema: str,
        handlers: Mapping[str, Handler],
        background: Mapping[str, BackgroundHandler] | None = None,
        vault: Vault | None = None,
    ) -> None:
        self._outbox = outbox
        self._broker = broker
        self._schema = schema
        self._handlers = handlers
        self._background = background or {}
        self._vault = vault
        self._slots = asyncio.Semaphore(BACKGROUND_AT_ONCE)
        self._running: set[asyncio.Task[None]] = set()
        self._begun: deque[UUID] = deque(maxlen=BEGUN_REMEMBERED)

    async def process(self, batch: Sequence[Asked]) -> None:
        for asked in batch:
            with traces.part(asked.message_id):
                await self._execute(asked)

    async def _execute(self, asked: Asked) -> None:
        command = asked.command
        if _too_late(command):
            return
        if command.type in self._background:
            self._begin(asked)
        else:
            await self._reply(asked, await self.answer(command))

    def _begin(self, asked: Asked) -> None:
        """Start a background command, once: its message may come again while, or after, it runs."""
        if asked.command.id in self._begun:
            return
        self._begun.append(asked.command.id)
        task = asyncio.create_task(self._beside(asked), name=f"command {asked.command.type}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _beside(self, asked: Asked) -> None:
        command = asked.command
        async with self._slots:
            if _too_late(command):  # it had to wait for a slot
                return
            try:
                answer = Answer(body=await self._background[command.type](command))
            except RefusedError as error:
                answer = Answer(refusal=error.refusal)
            except Exception as error:  # noqa: BLE001  # nobody else would see it, and somebody waits for an answer
                answer = _failed(command, error)
        await self._reply(asked, answer)

    async def finished(self) -> None:
        """Once no background command is running."""
        while self._running:
            await asyncio.wait(self._running)

    async def answer(self, command: Command) -> Answer:
        """Execute a command once, whoever asks how often."""
        try:
            return await self._once(command, self._handlers.get(command.type, _unknown))
        except RefusedError as error:
            COMMANDS.labels(command.type, "refused").inc()
            return Answer(refusal=error.refusal)
        except Exception as error:
            # Somebody waits for this answer: a dead letter would keep their secrets, and help nobody.
            if command.deadline is None or is_transient(error):
                raise
            return _failed(command, error)

    async def _once(self, command: Command, handler: Handler) -> Answer:
        async with self._outbox.transaction() as transaction:
            new = await transaction.connection.fetchval(
                f"INSERT INTO {self._schema}.commands_seen (id, type, actor, seen_at) VALUES ($1, $2, $3, now())"
                " ON CONFLICT (id) DO NOTHING RETURNING true",
                command.id,
                command.type,
                command.actor,
            )
            if not new:
                return await self._remembered(transaction.connection, command.id)
            answer = await _executed(transaction, command, handler)
            refusal = answer.refusal
            await transaction.connection.execute(
                f"UPDATE {self._schema}.commands_seen SET answer = $2, refusal = $3 WHERE id = $1",
                command.id,
                None if refusal else self._sealed(answer.body),
                refusal and refusal.encode().decode(),
            )
        COMMANDS.labels(command.type, "refused" if refusal else "executed").inc()
        return answer

    async def _remembered(self, connection: Connection, command_id: UUID) -> Answer:
        row = await connection.fetchrow(
            f"SELECT answer, refusal FROM {self._schema}.commands_seen WHERE id = $1", command_id
        )
        if row["refusal"]:
            return Answer(refusal=Refusal.model_validate_json(row["refusal"]))
        return Answer(body=self._opened(row["answer"]))

    def _sealed(self, body: Any) -> str:
        """JSON as the first answer had it; under a vault a JSON string, its token."""
        plain = to_json(body)
        return json.dumps(self._vault.seal(plain).decode()) if self._vault else plain.decode()

    def _opened(self, stored: str) -> Any:
        body = from_json(stored)
        return from_json(self._vault.open(body.encode())) if self._vault else body

    async def _reply(self, asked: Asked, answer: Answer) -> None:
        if asked.reply_to:
            await self._broker.reply(asked.reply_to, asked.correlation_id or "", answer.encode())


async def _unknown(_: Transaction, command: Command) -> Any:
    raise RefusedError(400, "trustlens_unknown_command", command.type)


async def _executed(transaction: Transaction, command: Command, handler: Handler) -> Answer:
    """The handler's answer. Nobody waits for that of a command without a deadline: its refusal is an answer to keep.

    Raises:
        RefusedError: of a command with a deadline; its asker hears of it, and may ask again.
    """
    if command.deadline is not None:
        return Answer(body=await handler(transaction, command))
    try:
        async with transaction.connection.transaction():
            return Answer(body=await handler(transaction, command))
    except RefusedError as error:
        transaction.outgoing.clear()
        return Answer(refusal=error.refusal)


def _too_late(command: Command) -> bool:
    late = command.deadline is not None and command.deadline < datetime.now(UTC)
    if late:
        COMMANDS.labels(command.type, "too_late").inc()
    return late


def _failed(command: Command, error: Exception) -> Answer:
    """The answer to a command that met a mistake of ours; the log has where, and no values."""
    COMMANDS.labels(command.type, "failed").inc()
    log.error(
        "commands.failed",
        command=command.type,
        command_id=str(command.id),
        error=type(error).__name__,
        trace="".join(traceback.format_tb(error.__traceback__)),
    )
    message = f"An error on our side, logged as {command.id}."
    return Answer(refusal=Refusal(status=500, code="internal_server_error", message=message))


@dataclass(slots=True)
class Asker:
    """The asking side: publishes a command and waits for the answer, at most until its deadline."""

    broker: Broker
    _channel: aiormq.abc.AbstractChannel | None = None
    _waiting: dict[str, "asyncio.Future[Answer]"] = field(default_factory=dict)
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def ask(
        self,
        queue: str,
        command_type: str,
        *,
        store_id: UUID,
        actor: str,
        data: Mapping[str, Any],
        within: timedelta = DEADLINE,
        command_id: UUID | None = None,
    ) -> Answer:
        """The answer; to a `command_id` that was executed before, the one of that time.

        Raises:
            NoAnswerError: no answer in time: the broker or the owner is down, or too busy.
        """
        deadline = datetime.now(UTC) + within
        command = Command(
            id=command_id or uuid7(), type=command_type, store_id=store_id, actor=actor, deadline=deadline, data=data
        )
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[str(command.id)] = answer
        try:
            async with asyncio.timeout(within.total_seconds()):
                return await self._answered(queue, command, answer)
        except TimeoutError:
            raise NoAnswerError(f"{queue} did not answer within {within.total_seconds():.0f} s") from None
        finally:
            del self._waiting[str(command.id)]

    async def _answered(self, queue: str, command: Command, answer: "asyncio.Future[Answer]") -> Answer:
        """Where the way back breaks, ask again: the same id gets the answer of what was done already."""
        while True:
            channel = await self._send(queue, command)
            await asyncio.wait({answer, channel.closing}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()

    async def _send(self, queue: str, command: Command) -> aiormq.abc.AbstractChannel:
        """Publish, reconnecting as often as the caller's deadline allows; the channel that the answer comes by."""
        while True:
            try:
                channel = await self._open()
                await channel.basic_publish(
                    command.encode(),
                    routing_key=self.broker.prefix + queue,
                    properties=Basic.Properties(
                        message_id=str(command.id),
                        correlation_id=str(command.id),
                        reply_to=REPLY_TO,
                        headers=dict(traces.current()),
                    ),
                )
            except BROKER_ERRORS as error:
                log.warning("commands.not_sent", queue=queue, error=type(error).__name__)
                await asyncio.sleep(0.1)
            else:
                return channel

    async def _open(self) -> aiormq.abc.AbstractChannel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                channel = await self.broker.channel(prefetch=0)
                await channel.basic_consume(REPLY_TO, self._on_answer, no_ack=True)
                self._channel = channel
            return self._channel

    async def _on_answer(self, delivered: aiormq.abc.DeliveredMessage) -> None:
        waiting = self._waiting.get(delivered.header.properties.correlation_id or "")
        if waiting is None or waiting.done():
            log.info("commands.late_answer", command_id=delivered.header.properties.correlation_id)
            return
        waiting.set_result(Answer.model_validate_json(delivered.body))
