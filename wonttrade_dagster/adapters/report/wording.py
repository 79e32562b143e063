"""Numbers, times and durations as a person reads them.

Belongs here: formatting for the report.
Does not belong here: anything parsed again by a program.
"""

from datetime import UTC, datetime

ABSENT = "–"
"""Printed for a figure that is not defined."""


def usd_text(value: float | None) -> str:
    """``$10,123.45``, ``−$3.20``."""
    if value is None:
        return ABSENT
    return f"{'−' if value < 0 else ''}${abs(value):,.2f}"


def fraction_text(value: float | None, *, sign: bool = False) -> str:
    """A fraction as percent: ``+12.34 %``."""
    if value is None:
        return ABSENT
    return f"{value * 100:{'+' if sign else ''}.2f} %".replace("-", "−")


def number_text(value: float | None) -> str:
    """Two decimals for everyday numbers, five significant figures for small ones."""
    if value is None:
        return ABSENT
    text = f"{value:,.2f}" if abs(value) >= 1 or value == 0 else f"{value:.5g}"
    return text.replace("-", "−")


def duration_text(milliseconds: float | None) -> str:
    """The two largest units: ``3 d 4 h``, ``2 h 15 min``, ``1.2 s``, ``250 ms``."""
    if milliseconds is None:
        return ABSENT
    seconds = milliseconds / 1000
    if seconds < 1:
        return f"{milliseconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min"


def shortened(text: str, characters: int) -> str:
    """At most so many characters; what was cut is shown as ``…``."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def time_text(time_ms: int) -> str:
    """``2025-06-01 00:15``, in UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
