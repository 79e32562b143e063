"""Which orders the venue refuses at the door, with its own sentences.

Belongs here: every check of protocol.md §4.1, §8.1, §9 that can be made before an order is matched, and the
margin check.
Does not belong here: matching, booking.

Chosen where the venue's behaviour is not established: the minimum value binds closing orders too, and
counts a trigger at its trigger price; an IOC order is held to the market order's maximum value; resting
orders reserve margin; the taker fee and the distance to the mark must be covered as well. Two open orders may
share a client order id (lookups give the latest): the strict choice here is the one that shows a client's
duplicate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from wonttrade_dagster.core.model import AssetSpec
from wonttrade_dagster.core.precision import is_valid_price, is_valid_size, wire
from wonttrade_dagster.core.simulation.fills import fee_usd
from wonttrade_dagster.core.simulation.margin import cross_value_usd, free_margin_usd, max_leverage_at
from wonttrade_dagster.core.simulation.records import (
    ZERO,
    ExchangeState,
    Level,
    OrderRequest,
    OrderStatus,
    Quote,
    Tif,
    VenueRules,
)

MARKET_ORDER_CAPS_USD = ((25, 15_000_000), (20, 5_000_000), (10, 2_000_000), (0, 500_000))
"""(at least this maximum leverage, largest market order); a limit order may be ten times as large."""
LIMIT_ORDER_CAP_FACTOR = 10


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an order is refused. ``status`` None: the venue never numbers it, a lookup says unknownOid."""

    error: str
    status: OrderStatus | None = None
    has_suffix: bool = True


BAD_TRIGGER = Rejection("Invalid TP/SL price.", OrderStatus.TRIGGER_PX_REJECTED)
NO_MATCH = Rejection(
    "Order could not immediately match against any resting orders.", OrderStatus.IOC_REJECTED
)
NO_MARGIN = Rejection("Insufficient margin to place order.", OrderStatus.MARGIN_REJECTED)
NOT_REDUCING = Rejection("Reduce only order would increase position.", OrderStatus.REDUCE_ONLY_REJECTED)


def crossing(request: OrderRequest, quote: Quote) -> tuple[Level, ...]:
    """The levels that the request's limit reaches, best first."""
    if request.is_buy:
        return tuple(level for level in quote.asks if level.px <= request.limit_px)
    return tuple(level for level in quote.bids if level.px >= request.limit_px)


def take(levels: Sequence[Level], size_base: Decimal) -> tuple[Level, ...]:
    """Walk the levels until ``size_base`` is taken or they end: what is filled at each price."""
    taken: list[Level] = []
    left = size_base
    for level in levels:
        if left <= 0:
            break
        taken.append(Level(level.px, min(left, level.size_base)))
        left -= taken[-1].size_base
    return tuple(taken)


def reduces(state: ExchangeState, symbol: str, *, is_buy: bool) -> bool:
    """Whether that side works against an open position."""
    held = state.size_base(symbol)
    return held < 0 if is_buy else held > 0


def screen(
    state: ExchangeState, request: OrderRequest, quotes: Mapping[str, Quote], rules: VenueRules
) -> Rejection | None:
    """The first reason to refuse ``request`` before it is matched, or None."""
    spec, quote = rules.assets.get(request.symbol), quotes.get(request.symbol)
    if spec is None or spec.is_delisted or quote is None:
        return Rejection(f"Asset {request.symbol} is not tradable.", has_suffix=False)
    if request.reduce_only and not reduces(state, request.symbol, is_buy=request.is_buy):
        refused = NOT_REDUCING if request.trigger is None or rules.triggers_need_position else None
    else:
        refused = None
    return (
        _broken(request, spec, quote, rules)
        or _bad_trigger(request, quote)
        or _bad_value(request, spec, quote, rules)
        or refused
        or _bad_tif(request, quote)
        or _too_many(state, request, rules)
    )


def _broken(request: OrderRequest, spec: AssetSpec, quote: Quote, rules: VenueRules) -> Rejection | None:
    """Numbers that the venue does not read as an order."""
    px, decimals = request.limit_px, spec.size_decimals
    if not px.is_finite() or px <= 0:
        return Rejection("Order has invalid price.")
    if not request.size_base and not (request.is_whole_position and request.trigger):
        return Rejection("Order has zero size.")
    if request.size_base and not is_valid_size(request.size_base, decimals):
        return Rejection("Order has invalid size.")
    if not is_valid_price(px, decimals):
        return Rejection("Price must be divisible by tick size.", OrderStatus.TICK_REJECTED)
    mark_px = quote.mark_px
    if request.trigger is None and not rules.band_low * mark_px < px <= rules.band_high * mark_px:
        percent = wire((1 - rules.band_low) * 100)
        return Rejection(
            f"Order price cannot be more than {percent}% away from the reference price",
            has_suffix=False,
        )
    if request.trigger and not is_valid_price(request.trigger.trigger_px, decimals):
        return Rejection("Price must be divisible by tick size.", OrderStatus.TICK_REJECTED)
    return None


def _bad_trigger(request: OrderRequest, quote: Quote) -> Rejection | None:
    """Already crossed, or a limit that could not fill when it fires."""
    if request.trigger is None:
        return None
    trigger_px = request.trigger.trigger_px
    is_crossed = quote.mark_px <= trigger_px if request.fires_below else quote.mark_px >= trigger_px
    is_marketable = request.limit_px >= trigger_px if request.is_buy else request.limit_px <= trigger_px
    return BAD_TRIGGER if is_crossed or not is_marketable else None


def _bad_value(request: OrderRequest, spec: AssetSpec, quote: Quote, rules: VenueRules) -> Rejection | None:
    if request.trigger:
        value = request.size_base * request.trigger.trigger_px
    else:
        levels = crossing(request, quote)
        value = request.size_base * (levels[0].px if levels else request.limit_px)
    is_bound = rules.min_value_binds_reduce_only or not request.reduce_only
    if is_bound and not request.is_whole_position and value < rules.min_value_usd:
        amount = wire(rules.min_value_usd)
        return Rejection(f"Order must have minimum value of ${amount}.", OrderStatus.MIN_VALUE_REJECTED)
    cap = _max_value_usd(request, spec)
    if value > cap:
        return Rejection(f"Order value too large. Max is ${cap}.", has_suffix=False)
    return None


@cache
def _market_cap_usd(max_leverage: int) -> int:
    return next(usd for leverage, usd in MARKET_ORDER_CAPS_USD if max_leverage >= leverage)


def _max_value_usd(request: OrderRequest, spec: AssetSpec) -> int:
    cap = _market_cap_usd(spec.max_leverage)
    is_market = request.trigger.is_market if request.trigger else request.tif is Tif.IOC
    return cap if is_market else cap * LIMIT_ORDER_CAP_FACTOR


def _bad_tif(request: OrderRequest, quote: Quote) -> Rejection | None:
    if request.trigger is not None:
        return None
    levels = crossing(request, quote)
    if request.tif is Tif.IOC and not levels:
        return NO_MATCH
    if request.tif is Tif.ALO and levels:
        return Rejection(
            "Post only order would have immediately matched, "
            f"bbo was {_best(quote.bids)}@{_best(quote.asks)}.",
            OrderStatus.ALO_REJECTED,
        )
    return None


def _best(levels: Sequence[Level]) -> str:
    return wire(levels[0].px) if levels else "none"


def _too_many(state: ExchangeState, request: OrderRequest, rules: VenueRules) -> Rejection | None:
    may_stand = request.trigger is not None or request.tif is not Tif.IOC
    if may_stand and len(state.orders) >= rules.max_open_orders:
        return Rejection("Too many open orders", OrderStatus.REJECTED)
    return None


def screen_margin(
    state: ExchangeState,
    request: OrderRequest,
    size_base: Decimal,
    taken: Sequence[Level],
    rules: VenueRules,
) -> Rejection | None:
    """Whether the account can carry ``size_base`` more of that side (marks must be set); None when it can.

    An order that leaves no larger position than before needs no margin.
    """
    symbol, held = request.symbol, state.size_base(request.symbol)
    signed = size_base if request.is_buy else -size_base
    if request.reduce_only or abs(held + signed) <= abs(held):
        return None
    setting, notional = state.setting(symbol, rules), abs(held + signed) * state.marks[symbol]
    if setting.leverage > max_leverage_at(rules.assets[symbol], notional):
        return Rejection(
            "Order would cause position to exceed margin tier limit at current leverage",
            OrderStatus.MAX_POSITION_REJECTED,
        )
    if not setting.is_cross:
        return _isolated_margin(state, request, size_base, taken, rules)
    return _cross_margin(state, request, signed, taken, rules)


def _isolated_margin(
    state: ExchangeState, request: OrderRequest, size_base: Decimal, taken: Sequence[Level], rules: VenueRules
) -> Rejection | None:
    held = abs(state.size_base(request.symbol))
    opened = size_base - held if reduces(state, request.symbol, is_buy=request.is_buy) else size_base
    taken_base = sum((level.size_base for level in taken), ZERO)
    cost = sum((level.px * level.size_base for level in taken), ZERO)
    if request.tif is not Tif.IOC:
        cost += (size_base - taken_base) * request.limit_px
    needed = cost * opened / size_base / state.setting(request.symbol, rules).leverage
    return NO_MARGIN if needed > free_margin_usd(state, rules) else None


def _cross_margin(
    state: ExchangeState, request: OrderRequest, signed: Decimal, taken: Sequence[Level], rules: VenueRules
) -> Rejection | None:
    mark, side = state.marks[request.symbol], 1 if request.is_buy else -1
    lost = sum((side * (level.px - mark) * level.size_base for level in taken), ZERO)
    fees = sum((fee_usd(level.px, level.size_base, rules.taker_fee_rate) for level in taken), ZERO)
    exposure = _exposures(state, rules)
    buys, sells = exposure.get(request.symbol, (ZERO, ZERO))
    exposure[request.symbol] = (buys + max(signed, ZERO), sells + max(-signed, ZERO))
    needed = ZERO
    for symbol, (bought, sold) in exposure.items():
        held = state.size_base(symbol)
        worst = max(abs(held + bought), abs(held - sold))
        needed += worst * state.marks[symbol] / state.setting(symbol, rules).leverage
    return NO_MARGIN if needed > cross_value_usd(state) - lost - fees else None


def _exposures(state: ExchangeState, rules: VenueRules) -> dict[str, tuple[Decimal, Decimal]]:
    """Resting (buys, sells) of every cross symbol that holds or may come to hold something."""
    found = {symbol: (ZERO, ZERO) for symbol in state.positions if state.setting(symbol, rules).is_cross}
    for order in state.orders.values():
        request = order.request
        if order.is_waiting or request.reduce_only or not state.setting(order.symbol, rules).is_cross:
            continue
        buys, sells = found.get(order.symbol, (ZERO, ZERO))
        size = order.open_base
        found[order.symbol] = (buys + size, sells) if request.is_buy else (buys, sells + size)
    return found
