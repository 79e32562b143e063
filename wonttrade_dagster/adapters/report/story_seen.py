"""The chapter of what a cycle saw: prices, funding, indicators in short, account, protection.

Belongs here: reading the snapshots into words. Does not belong here: the other chapters.
"""

from collections.abc import Mapping
from typing import Any

from wonttrade_dagster.adapters.report.story_parts import (
    Chapter,
    Fact,
    StoryTable,
    amount,
    failed,
    figure,
    lasted,
    orders,
    positions,
    px_text,
)
from wonttrade_dagster.adapters.report.wording import usd_text
from wonttrade_dagster.core.alerts import protection_alerts
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    IndicatorSnapshot,
    MarketSnapshot,
    Stage,
    StageFailure,
    SymbolIndicators,
    SymbolMarket,
)
from wonttrade_dagster.core.precision import wire


def seen(records: Mapping[Stage, Any]) -> Chapter | None:
    """Market, indicators, account and what stood on the venue."""
    market, account = records.get(Stage.MARKET_SNAPSHOTS), records.get(Stage.ACCOUNT_SNAPSHOTS)
    indicators = records.get(Stage.INDICATORS)
    if market is None and account is None:
        return None
    facts = list[Fact]()
    tables = list[StoryTable]()
    if isinstance(market, MarketSnapshot):
        facts += [
            ("source", market.source),
            ("market complete after", lasted(market.taken_at_ms - market.cycle_ms)),
        ]
        tables.append(_prices(market))
    if isinstance(indicators, IndicatorSnapshot):
        tables.append(_indicators(indicators))
    notes = [failed(record) for record in (market, account, indicators) if isinstance(record, StageFailure)]
    if isinstance(account, AccountSnapshot):
        facts += _account_facts(account)
        tables += [positions(account), orders(account)]
        notes += protection_alerts(account)
    return Chapter("Seen", tuple(facts), tuple(tables), notes=tuple(notes))


def _prices(market: MarketSnapshot) -> StoryTable:
    columns = ("symbol", "price", "mid", "mark", "oracle", "funding per hour", "open interest", "24 h volume")
    return StoryTable("Market", columns, tuple(_price_row(m) for m in market.markets))


def _price_row(m: SymbolMarket) -> tuple[str, ...]:
    funding = None if m.funding_rate_hourly is None else f"{m.funding_rate_hourly * 100:.5f} %"
    interest, volume = m.open_interest_base, m.day_volume_usd
    return (
        m.symbol,
        wire(m.reference_px),
        px_text(m.mid_px),
        px_text(m.mark_px),
        px_text(m.oracle_px),
        funding or "absent",
        "absent" if interest is None else f"{interest:,.2f}",
        "absent" if volume is None else usd_text(volume),
    )


def _indicators(record: IndicatorSnapshot) -> StoryTable:
    rows = [row for symbol in record.symbols for row in _indicator_rows(symbol)]
    columns = record.symbols[0].main_columns if record.symbols else ()
    return StoryTable("Indicators, newest closed candle", ("symbol", "window", *columns), tuple(rows))


def _indicator_rows(symbol: SymbolIndicators) -> list[tuple[str, ...]]:
    windows = (("intraday", symbol.intraday), ("long", symbol.long_term))
    return [
        (symbol.symbol, name, *(figure(window.newest(column)) for column in symbol.main_columns))
        for name, window in windows
        if window.height
    ]


def _account_facts(account: AccountSnapshot) -> list[Fact]:
    return [
        ("account value", amount(account.account_value_usd)),
        ("free margin", amount(account.free_margin_usd)),
        ("margin used", amount(account.margin_used_usd)),
    ]
