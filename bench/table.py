"""A result as text for a person.

Belongs here: columns and rounding. Does not belong here: measuring, JSON.
"""

from collections.abc import Sequence
from typing import Any

from bench.measure import Result

_HEAD = ("figure", "median", "10 % .. 90 %", "CPU", "unit", "goal", "n")


def text(name: str, summary: str, result: Result) -> str:
    """Machine, figures, ratios and facts."""
    data = result.data()
    host = data["machine"]
    system = f"Python {host['python']}, {host['system']} {host['architecture']}"
    lines = [
        f"{name}: {summary}",
        f"{host['cores']} cores (load {host['load_1_minute']}), {system}; medians after warm-up",
        "",
        *_aligned([_HEAD, *(_row(key, figure) for key, figure in data["figures"].items())]),
    ]
    if data["ratios"]:
        lines += ["", *_aligned([("ratio", ""), *((k, _number(v)) for k, v in data["ratios"].items())])]
    if data["facts"]:
        lines += ["", *_aligned([(key, str(value)) for key, value in data["facts"].items()])]
    for violation in result.violations:
        lines += ["", f"VIOLATION in {violation}"]
    return "\n".join(lines)


def _row(name: str, figure: dict[str, Any]) -> tuple[str, ...]:
    goal = figure.get("goal")
    verdict = "" if goal is None else f"{_number(goal)} {'met' if figure['met'] else 'MISSED'}"
    cpu = _number(figure["cpu_median"]) if "cpu_median" in figure else ""
    spread = f"{_number(figure['low'])} .. {_number(figure['high'])}"
    return (
        name,
        _number(figure["median"]),
        spread,
        cpu,
        figure["unit"],
        verdict,
        str(figure["samples"]),
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
