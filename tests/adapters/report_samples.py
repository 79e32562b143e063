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


def _frame(schema: Mapping[str, pl.DataType], rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=schema, orient="row")


def report_data(**changes: Any) -> ReportData:
    chance, times = random.Random(5), range(FROM, FROM + DAY_MS, CYCLE_MS)
    candles = random_candles(FROM, 288, seed=5)
    value, equity = 10_000.0, []
    for time_ms in times:
        equity.append((time_ms, value))
        value *= 1 + chance.gauss(0, 0.001)
    fills = [
        (FROM + 3_600_000, "BTC", 100.0, 10.0, 0.45, 0.0, "open", "Open Long", 1),
        (FROM + 7_200_000, "BTC", 99.0, -10.0, 0.45, -10.0, "stop_loss", "Close Long", 2),
        (FROM + 9_000_000, "BTC", 99.0, -5.0, 0.2, 0.0, "open", "Open Short", 3),
    ]
    decisions = [
        (
            t,
            "refused" if i % 10 == 3 else "applied",
            "violations" if i % 10 == 3 else "applied",
            "kept",
            i % 10 == 3,
            i % 7 == 0,
            i % 14 == 0 if i % 7 == 0 else None,
            0.01,
            HOSTILE,
        )
        for i, t in enumerate(times)
    ]
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
        equity=_frame(EQUITY_SCHEMA, equity),
        fills=_frame(FILL_SCHEMA, fills),
        latency=_frame(LATENCY_SCHEMA, [(t, 1_000 + i, 900, 100) for i, t in enumerate(times)]),
        decisions=_frame(DECISION_SCHEMA, decisions),
        prices={"BTC": candles},
        assumptions=("A stop and a take-profit in one bar: the stop comes first.",),
        caveats=("The model is a stand-in.",),
        protection=_frame(PROTECTION_SCHEMA, [(t, "BTC", 98.0, None) for t in times]),
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
