"""Times as the API tells them, where Postgres writes an answer's JSON itself."""


def written(time: str) -> str:
    """SQL for the text of a timestamp: `Y-m-d H:i:s`, UTC."""
    return f"to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"
