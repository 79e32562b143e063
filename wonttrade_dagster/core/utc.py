"""Times for people: always UTC, mostly to the minute.

Belongs here: how an instant is written in a sentence. Does not belong here: partition keys, prompts.
"""

from datetime import UTC, datetime


def utc_minute(time_ms: int) -> str:
    """``2025-05-25 14:25``, where a heading says that it is UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def utc_text(time_ms: int) -> str:
    """``2025-05-25 14:25 UTC``."""
    return f"{utc_minute(time_ms)} UTC"


def utc_exact(time_ms: int) -> str:
    """``2025-05-25 14:25:00.068 UTC``, where the milliseconds matter."""
    return f"{utc_minute(time_ms)}:{time_ms // 1000 % 60:02}.{time_ms % 1000:03} UTC"
