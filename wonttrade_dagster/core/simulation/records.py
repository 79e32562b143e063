"""The nouns of the simulated exchange: requests, quotes, rules and the state.

Belongs here: frozen records and plain readings of their fields. Does not belong here: what an order does to
an account (``orders``, ``fills``, ``marks``, ``bars``), its worth (``margin``), what happened (``events``).

Every amount is ``Decimal``. A fill's ``size_base`` is unsigned with ``is_buy`` beside it (the venue's own
form); a position's is signed. The quotes are exogenous: filling against one does not consume it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from functools import cache

from wonttrade_dagster.core.model import AssetSpec, Leg
from wonttrade_dagster.core.precision import MIN_ORDER_VALUE_USD
from wonttrade_dagster.core.quick_init import quick_init

ZERO = Decimal(0)


class Tif(StrEnum):
    """Time in force, in the venue's spelling."""

    GTC = "Gtc"
    IOC = "Ioc"
    ALO = "Alo"


class OrderStatus(StrEnum):
    """The venue's words for what became of an order (protocol.md §4.2)."""

    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
    TRIGGERED = "triggered"
    REJECTED = "rejected"
    MARGIN_CANCELED = "marginCanceled"
    REDUCE_ONLY_CANCELED = "reduceOnlyCanceled"
    LIQUIDATED_CANCELED = "liquidatedCanceled"
    TICK_REJECTED = "tickRejected"
    MIN_VALUE_REJECTED = "minTradeNtlRejected"
    MARGIN_REJECTED = "perpMarginRejected"
    REDUCE_ONLY_REJECTED = "reduceOnlyRejected"
    ALO_REJECTED = "badAloPxRejected"
    IOC_REJECTED = "iocCancelRejected"
    TRIGGER_PX_REJECTED = "badTriggerPxRejected"
    NO_LIQUIDITY_REJECTED = "marketOrderNoLiquidityRejected"
    MAX_POSITION_REJECTED = "perpMaxPositionRejected"

    @property
    def is_terminal(self) -> bool:
        """Whether the order is gone; ``triggered`` is followed by what the fired order did."""
        return self not in (OrderStatus.OPEN, OrderStatus.TRIGGERED)


@dataclass(frozen=True, slots=True)
class Trigger:
    """Waits until the mark reaches ``trigger_px``, then becomes an order with the request's limit.

    Attributes:
        trigger_px: the mark price that fires it.
        is_market: fire as IOC (the venue's trigger market order), else as Gtc at the limit.
        leg: ``sl`` or ``tp`` of the wire; with the side it says on which side of the mark it waits.
    """

    trigger_px: Decimal
    is_market: bool
    leg: Leg


@quick_init
@dataclass(frozen=True, slots=True)
class OrderRequest:
    """One order as it is sent. ``size_base`` is unsigned; 0 means the whole position for a position TP/SL."""

    symbol: str
    is_buy: bool
    size_base: Decimal
    limit_px: Decimal
    tif: Tif = Tif.GTC
    reduce_only: bool = False
    cloid: str | None = None
    trigger: Trigger | None = None
    is_position_tpsl: bool = False

    @property
    def is_whole_position(self) -> bool:
        """Follows the position's size."""
        return self.is_position_tpsl and self.size_base == 0

    @property
    def fires_below(self) -> bool:
        """Whether the trigger fires at marks at or below its price: sell-stop and buy-take-profit."""
        return self.trigger is not None and (self.trigger.leg is Leg.STOP_LOSS) != self.is_buy


@quick_init
@dataclass(frozen=True, slots=True)
class StandingOrder:
    """An order that rests in the book or waits for its trigger; ``open_base`` is what is unfilled."""

    oid: int
    request: OrderRequest
    open_base: Decimal
    placed_at_ms: int
    is_waiting: bool = False
    """The trigger has not fired yet."""

    @property
    def symbol(self) -> str:
        """The coin."""
        return self.request.symbol


@quick_init
@dataclass(frozen=True, slots=True)
class Level:
    """One price level of the book."""

    px: Decimal
    size_base: Decimal


@quick_init
@dataclass(frozen=True, slots=True)
class Quote:
    """The market of one symbol at a moment: both sides best first, mark and oracle."""

    symbol: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    mark_px: Decimal
    oracle_px: Decimal
    slippage_bps: Decimal = ZERO  # of levels that were made up from the mark


@dataclass(frozen=True, slots=True)
class VenueRules:
    """The venue's rules; every default is tier 0 of the real one or the stricter reading of it.

    Attributes:
        assets: by symbol.
        taker_fee_rate: of the notional.
        maker_fee_rate: of the notional; negative is a rebate.
        trigger_slippage: a fired market trigger fills at most this fraction beyond its trigger price and
            never beyond its own limit price.
        min_value_usd: smallest order.
        min_value_binds_reduce_only: whether the minimum binds closing orders too (not established).
        triggers_need_position: refuse a reduce-only trigger while flat or on the wrong side.
        default_leverage: of a symbol whose leverage was never set (capped by the asset's maximum).
        band_low: lowest limit price as a fraction of the mark.
        band_high: highest limit price as a multiple of the mark.
        max_open_orders: beyond it further resting and waiting orders are refused.
        partial_liquidation_usd: positions above it are liquidated in parts of
            ``partial_liquidation_fraction``, unless a part was taken within ``liquidation_cooldown_ms``.
        backstop_fraction: below this fraction of the maintenance margin the venue takes everything over.
    """

    assets: Mapping[str, AssetSpec]
    taker_fee_rate: Decimal = Decimal("0.00045")
    maker_fee_rate: Decimal = Decimal("0.00015")
    trigger_slippage: Decimal = Decimal("0.1")
    min_value_usd: Decimal = MIN_ORDER_VALUE_USD
    min_value_binds_reduce_only: bool = True
    triggers_need_position: bool = True
    default_leverage: int = 20
    band_low: Decimal = Decimal("0.2")
    band_high: Decimal = Decimal(5)
    max_open_orders: int = 1000
    partial_liquidation_usd: Decimal = Decimal(100_000)
    partial_liquidation_fraction: Decimal = Decimal("0.2")
    liquidation_cooldown_ms: int = 30_000
    backstop_fraction: Decimal = Decimal(2) / Decimal(3)


@quick_init
@dataclass(frozen=True, slots=True)
class LeverageSetting:
    """Integer leverage and margin mode of one symbol."""

    leverage: int
    is_cross: bool = True


@quick_init
@dataclass(frozen=True, slots=True)
class PerpPosition:
    """One open position.

    Attributes:
        size_base: signed, never 0.
        entry_px: average entry.
        is_cross: its margin mode, fixed while it is open.
        isolated_raw_usd: ``leverage.rawUsd`` of an isolated position (margin − signed cost); 0 for cross.
        funding_usd: paid (+) since it was opened.
    """

    symbol: str
    size_base: Decimal
    entry_px: Decimal
    is_cross: bool = True
    isolated_raw_usd: Decimal = ZERO
    funding_usd: Decimal = ZERO


@quick_init
@dataclass(frozen=True, slots=True)
class ExchangeState:
    """One account on the exchange, complete: what a step function takes and gives back.

    ``cross_raw_usd`` (and ``isolated_raw_usd`` of the positions) is the venue's ``totalRawUsd``: cash minus
    the signed cost of what is held, so account value = raw + Σ size·mark. The running totals
    ``deposits, realized, fees, funding`` and ``net_filled_base`` are kept beside it and are never computed
    from it: that makes the money identities a real check. History is not in here (see ``History``).

    Attributes:
        time_ms: of the last step.
        cross_raw_usd: as above, without the isolated positions' share.
        deposits_usd: total paid in.
        realized_pnl_usd: total closed PnL, without fees.
        fees_usd: total paid (a rebate lowers it).
        funding_usd: total paid (+) or received (−).
        positions: open ones, by symbol.
        orders: standing ones by oid, oldest first.
        settings: leverage by symbol, where it was set.
        marks: the mark each symbol was last moved to.
        net_filled_base: signed sum of all fills by symbol.
        next_oid, next_tid: ids of the next order and the next fill.
        partly_liquidated_at_ms: when a position was last liquidated in part.
    """

    time_ms: int
    cross_raw_usd: Decimal = ZERO
    deposits_usd: Decimal = ZERO
    realized_pnl_usd: Decimal = ZERO
    fees_usd: Decimal = ZERO
    funding_usd: Decimal = ZERO
    positions: Mapping[str, PerpPosition] = field(default_factory=dict)
    orders: Mapping[int, StandingOrder] = field(default_factory=dict)
    settings: Mapping[str, LeverageSetting] = field(default_factory=dict)
    marks: Mapping[str, Decimal] = field(default_factory=dict)
    net_filled_base: Mapping[str, Decimal] = field(default_factory=dict)
    next_oid: int = 1
    next_tid: int = 1
    partly_liquidated_at_ms: int | None = None

    def size_base(self, symbol: str) -> Decimal:
        """Signed size held, 0 when flat."""
        position = self.positions.get(symbol)
        return position.size_base if position else ZERO

    def setting(self, symbol: str, rules: VenueRules) -> LeverageSetting:
        """Leverage and margin mode that bind ``symbol``: what was set, else the venue's default."""
        if symbol in self.settings:
            return self.settings[symbol]
        spec = rules.assets[symbol]
        return _unset(min(rules.default_leverage, spec.max_leverage), not spec.only_isolated)


_unset = cache(LeverageSetting)  # asked for more than a dozen times a cycle
