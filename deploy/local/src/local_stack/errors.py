"""The one error of the local stack."""


class StackError(Exception):
    """Something the user can put right; the message is one sentence that says what."""
