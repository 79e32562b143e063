"""A small backtest as ``ReportData``: one day, one symbol, two trades, hostile model text."""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl
from market_samples import DAY_MS, random_candles, utc_ms

from wonttrade_dagster.adapters.report.data import (
    DECISION_SCHEMA,
    LATENCY_SCHEMA,
    PROTECTION_SCHEMA,
    TARGET_SCHEMA,
    ReportData,
)
from wonttrade_dagster.core.performance import EQUITY_SCHEMA, FILL_SCHEMA

FROM = utc_ms(2025, 6, 1)
CYCLE_MS = 900_000
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
FILLS = [
    (FROM + 3_600_000, "BTC", 100.0, 10.0, 0.45, 0.0, "open", "Open Long", 1),
    (FROM + 7_200_000, "BTC", 99.0, -10.0, 0.45, -10.0, "stop_loss", "Close Long", 2),
    (FROM + 9_000_000, "BTC", 99.0, -5.0, 0.2, 0.0, "open", "Open Short", 3),
]


def _frame(schema: Mapping[str, pl.DataType], rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=schema, orient="row")


def _equity(times: range) -> list[tuple[Any, ...]]:
    chance, value, rows = random.Random(5), 10_000.0, []
    for time_ms in times:
        rows.append((time_ms, value))
        value *= 1 + chance.gauss(0, 0.001)
    return rows


def _decision(number: int, time_ms: int) -> tuple[Any, ...]:
    """One in ten is repaired and refused; in one of seven a condition fired, every other one was obeyed."""
    is_refused, has_fired = number % 10 == 3, number % 7 == 0
    return (
        time_ms,
        "refused" if is_refused else "applied",
        "violations" if is_refused else "applied",
        "kept",
        is_refused,
        has_fired,
        number % 14 == 0 if has_fired else None,
        0.01,
        HOSTILE,
    )


def report_data(**changes: Any) -> ReportData:
    times = range(FROM, FROM + DAY_MS, CYCLE_MS)
    lived = range(FROM, FROM + DAY_MS + 1, CYCLE_MS)  # and one point where the range ends
    targets = [(t, "BTC", (10.0, -5.0, 0.0)[i % 3], 98.0, None, 0.7, HOSTILE) for i, t in enumerate(times)]
    data = ReportData(
        backtest_id="bt-<1>",
        from_ms=FROM,
        to_ms=FROM + DAY_MS,
        cycle_minutes=15,
        model=f"model {HOSTILE}",
        prompt_name="trader/v1",
        prompt_sha256="ab" * 32,
        settings_sha256="cd" * 32,
        initial_equity_usd=10_000.0,
        equity=_frame(EQUITY_SCHEMA, _equity(lived)),
        fills=_frame(FILL_SCHEMA, FILLS),
        latency=_frame(LATENCY_SCHEMA, [(t, 1_000 + i, 900, 100) for i, t in enumerate(times)]),
        decisions=_frame(DECISION_SCHEMA, [_decision(i, t) for i, t in enumerate(times)]),
        prices={"BTC": random_candles(FROM, 288, seed=5)},
        assumptions=("A stop and a take-profit in one bar: the stop comes first.",),
        caveats=("The model is a stand-in.",),
        protection=_frame(PROTECTION_SCHEMA, [(t, "BTC", 98.0, None) for t in lived]),
        funding_usd=1.5,
        targets=_frame(TARGET_SCHEMA, targets),
        slippage_bps=5.0,
        taker_fee_bps=4.5,
    )
    return replace(data, **changes)


def empty_report_data() -> ReportData:
    """A run in which the first cycle could not even start."""
    return report_data(
        equity=_frame(EQUITY_SCHEMA, []),
        fills=_frame(FILL_SCHEMA, []),
        latency=_frame(LATENCY_SCHEMA, []),
        decisions=_frame(DECISION_SCHEMA, []),
        protection=_frame(PROTECTION_SCHEMA, []),
        targets=_frame(TARGET_SCHEMA, []),
        prices={"BTC": random_candles(FROM, 0)},
        caveats=(),
    )
