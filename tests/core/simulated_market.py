"""Builders for the tests of the simulated exchange: two assets, plain quotes, short orders."""

from dataclasses import replace
from decimal import Decimal

from wonttrade_dagster.core.model import AssetSpec, Leg, MarginTier
from wonttrade_dagster.core.simulation import (
    Bar,
    Event,
    ExchangeState,
    Execution,
    Level,
    LeverageSetting,
    OrderOutcome,
    OrderRequest,
    OrderUpdate,
    Quote,
    Slippage,
    Tif,
    Trigger,
    VenueRules,
    bar_quote,
    check_identities,
    open_account,
    place_order,
    set_leverage,
    walk_bar,
)

D = Decimal
BTC = AssetSpec("BTC", 3, 5, 40, (MarginTier(D(0), 40), MarginTier(D(150_000_000), 20)))
ETH = AssetSpec("ETH", 4, 4, 25, (MarginTier(D(0), 25), MarginTier(D(100_000_000), 15)))
RULES = VenueRules({"BTC": BTC, "ETH": ETH})
FREE = replace(RULES, taker_fee_rate=D(0), maker_fee_rate=D(0))
"""Without fees, so that the arithmetic of a scenario fits in one line."""
NO_SLIP = Slippage()


def market(px: D | int | str, symbol: str = "BTC", depth: str = "1000000") -> dict[str, Quote]:
    """Both sides at one price."""
    level = Level(D(px), D(depth))
    return {symbol: Quote(symbol, (level,), (level,), D(px), D(px))}


def account(usd: int = 10_000, leverage: int = 10, *, is_cross: bool = True) -> ExchangeState:
    state = open_account(D(usd), 0)
    for symbol in ("BTC", "ETH"):
        state, outcome = set_leverage(state, symbol, LeverageSetting(leverage, is_cross), RULES, 0)
        assert outcome.ok
    return state


def send(
    state: ExchangeState,
    signed: str,
    px: D | int | str,
    rules: VenueRules = FREE,
    *,
    symbol: str = "BTC",
    limit: D | int | str | None = None,
    tif: Tif = Tif.IOC,
    reduce_only: bool = False,
    time_ms: int = 0,
    cloid: str | None = None,
) -> tuple[ExchangeState, OrderOutcome]:
    """An order for a signed size in a market at ``px``; the limit is there too unless given."""
    size = D(signed)
    request = OrderRequest(
        symbol, size > 0, abs(size), D(px if limit is None else limit), tif, reduce_only, cloid
    )
    state, outcome = place_order(state, request, market(px, symbol), rules, time_ms)
    check_identities(state)
    return state, outcome


def trade(
    state: ExchangeState, signed: str, px: D | int | str, rules: VenueRules = FREE, symbol: str = "BTC"
) -> ExchangeState:
    """A trade that must succeed."""
    state, outcome = send(state, signed, px, rules, symbol=symbol)
    assert outcome.error is None, outcome.error
    return state


def protect(
    state: ExchangeState,
    leg: Leg,
    trigger_px: D | int | str,
    px: D | int | str,
    rules: VenueRules = FREE,
    *,
    limit: D | int | str | None = None,
    is_market: bool = True,
    size: str | None = None,
    symbol: str = "BTC",
) -> tuple[ExchangeState, OrderOutcome]:
    """A reduce-only trigger against the held position in a market at ``px``."""
    held = state.size_base(symbol)
    is_buy = held < 0
    trigger_px = D(trigger_px)
    if limit is None:
        limit = (trigger_px * (D("1.1") if is_buy else D("0.9"))).quantize(D(1))
    request = OrderRequest(
        symbol,
        is_buy,
        abs(held) if size is None else D(size),
        D(limit),
        reduce_only=True,
        trigger=Trigger(trigger_px, is_market, leg),
        is_position_tpsl=size == "0",
    )
    return place_order(state, request, market(px, symbol), rules, 0)


def stop_and_profit(state: ExchangeState, stop: int, profit: int, px: int) -> ExchangeState:
    """Both legs standing."""
    for leg, trigger_px in ((Leg.STOP_LOSS, stop), (Leg.TAKE_PROFIT, profit)):
        state, outcome = protect(state, leg, trigger_px, px)
        assert outcome.error is None, outcome.error
    return state


def bar(open_: float, high: float, low: float, close: float, time_ms: int = 60_000) -> Bar:
    return Bar(time_ms, open_, high, low, close)


def walk(
    state: ExchangeState,
    candle: Bar,
    rules: VenueRules = FREE,
    slippage: Slippage = NO_SLIP,
    symbol: str = "BTC",
) -> tuple[ExchangeState, tuple[Event, ...]]:
    state, events = walk_bar(state, symbol, candle, rules, slippage)
    check_identities(state)
    return state, events


def fills(events: tuple[Event, ...]) -> list[Execution]:
    return [event for event in events if isinstance(event, Execution)]


def statuses(events: tuple[Event, ...]) -> list[str]:
    return [event.status.value for event in events if isinstance(event, OrderUpdate)]


__all__ = [
    "BTC",
    "ETH",
    "FREE",
    "NO_SLIP",
    "RULES",
    "D",
    "account",
    "bar",
    "bar_quote",
    "fills",
    "market",
    "protect",
    "send",
    "statuses",
    "stop_and_profit",
    "trade",
    "walk",
]
