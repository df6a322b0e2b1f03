"""What is wrong with an input, by field, without repeating the input."""

from collections.abc import Sequence

from pydantic import ValidationError

SHOWN = 20
"""Mistakes told at once: enough to mend a body, too few to flood an answer."""


def mistakes(error: ValidationError) -> dict[str, str]:
    """Field path to message, without the values given."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return {_path(m["loc"]): m["msg"] for m in found[:SHOWN]}


def _path(location: Sequence[int | str]) -> str:
    """Dotted. Parts in angle brackets are our names for members of a union, which no sender ever wrote."""
    return ".".join(part for part in map(str, location) if not part.startswith("<")) or "body"
