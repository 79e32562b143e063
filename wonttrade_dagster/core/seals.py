"""Hashes by which a record is known again that is not stored, because history gives it back.

Belongs here: what a seal covers, and whether a record still has it.
Does not belong here: where a seal is kept, what becomes of a record without one.
"""

import hashlib

from wonttrade_dagster.core.codec import decode
from wonttrade_dagster.core.cycle import STAGE_RECORDS
from wonttrade_dagster.core.model import (
    IndicatorSnapshot,
    MarketSnapshot,
    Stage,
    SymbolMarket,
)

_OF_NUMBERS = "numbers:"


def market_seal(market: MarketSnapshot) -> str:
    """Of a market's numbers and its last candles: the older ones show in the indicators.

    The rules of the assets are not in it: they are told once, with what the backtest was run with.
    """
    head = f"{market.cycle_ms}, {market.taken_at_ms}, {market.source!r}"
    told = ", ".join((head, *map(_of_symbol, market.markets)))
    return _OF_NUMBERS + hashlib.sha256(f"({told})".encode()).hexdigest()


def indicator_seal(indicators: IndicatorSnapshot) -> str:
    """Of every number of every window, bit by bit, and of the names of the columns."""
    found = hashlib.sha256(str(indicators.cycle_ms).encode())
    for symbol in indicators.symbols:
        for window in (symbol.intraday, symbol.long_term):
            found.update(f"{symbol.symbol} {' '.join(window.columns)}".encode())
            found.update(window.bits)
    return _OF_NUMBERS + found.hexdigest()


def is_sealed(stage: Stage, payload: bytes, seal: str | None) -> bool:
    """Whether a record's JSON is what the seal was made of; True without a seal.

    A seal is the SHA-256 of the JSON itself, or one of those above.
    """
    if seal is None:
        return True
    if not is_of_numbers(seal):
        return hashlib.sha256(payload).hexdigest() == seal
    record = decode(STAGE_RECORDS[stage], payload)
    if isinstance(record, MarketSnapshot):
        return market_seal(record) == seal
    return isinstance(record, IndicatorSnapshot) and indicator_seal(record) == seal


def is_of_numbers(seal: str) -> bool:
    """Whether it is one of those made here."""
    return seal.startswith(_OF_NUMBERS)


def _of_symbol(market: SymbolMarket) -> str:
    prices = (market.mid_px, market.mark_px, market.oracle_px)
    flows = (market.funding_rate_hourly, market.day_volume_usd)
    interest = (market.open_interest_base, market.open_interest_mean_base)
    told = ", ".join(map(repr, (market.symbol, *prices, *flows, *interest)))
    return f"({told}, {market.intraday.newest_text}, {market.long_term.newest_text})"
