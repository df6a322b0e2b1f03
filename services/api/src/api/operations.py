"""What each route takes and answers, declared beside its handler: it is validated by that, and described from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from api.scopes import Scope

Handler = TypeVar("Handler", bound=Callable[..., Any])

_OPERATION = "operation"
_ACCESS = "access"


@dataclass(frozen=True, slots=True)
class Owned:
    """A body that its owner validates: the schema of this name in owned.json, which is made from the owner's model."""

    name: str


@dataclass(frozen=True, slots=True)
class Header:
    """A header that the request may carry, beside those of all requests."""

    name: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """To be written above a handler, under whom it is for."""

    summary: str
    query: type[BaseModel] | None = None
    body: type[BaseModel] | Owned | None = None
    """None: nothing is asked for."""
    optional: bool = False
    """Whether the body may be left out."""
    answer: Any = None
    """The type of the good answer; None: it has no body."""
    status: int = 200
    """Of the good answer."""
    others: Mapping[int, Any] = field(default_factory=dict)
    """The types of other good answers, by status."""
    errors: Mapping[int, str] = field(default_factory=dict)
    """Those that do not follow from the rest: when they come, by status."""
    examples: Mapping[str, Any] = field(default_factory=dict)
    """Bodies, by what they do."""
    headers: tuple[Header, ...] = ()
    path: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """JSON Schemas of the path's variables that are not what their names say elsewhere."""

    def __call__(self, handler: Handler) -> Handler:
        handler.__dict__[_OPERATION] = self
        return handler


@dataclass(frozen=True, slots=True)
class Access:
    """Whom a route is for."""

    scope: Scope
    changes: bool
    """Whether its calls are audited, and its POSTs may carry an Idempotency-Key."""

    def __call__(self, handler: Handler) -> Handler:
        handler.__dict__[_ACCESS] = self
        return handler


def operation_of(handler: Callable[..., Any]) -> Operation | None:
    """What is declared of a handler, also through what functools wrapped around it."""
    found = vars(handler).get(_OPERATION)
    return found if isinstance(found, Operation) else None


def access_of(handler: Callable[..., Any]) -> Access | None:
    """None: it asks for no key."""
    found = vars(handler).get(_ACCESS)
    return found if isinstance(found, Access) else None
