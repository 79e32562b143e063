"""The venue's answers to questions, as records of ``core.model``.

Belongs here: what the fields of the venue's documented protocol mean, and their checks.
Does not belong here: asking (``info``, ``exchange``), answers to orders (``answers``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from wonttrade_dagster.adapters.hyperliquid.fields import Row, as_list, broken, rows
from wonttrade_dagster.core.candles import day_volume_usd
from wonttrade_dagster.core.errors import VenueAnswerError
from wonttrade_dagster.core.model import (
    AccountSnapshot,
    AssetSpec,
    CandleSeries,
    Fill,
    Leg,
    MarginTier,
    OpenOrder,
    Position,
    SymbolMarket,
)

_LEG_BY_TYPE: Mapping[str, Leg] = {"Stop": Leg.STOP_LOSS, "Take Profit": Leg.TAKE_PROFIT}
_BUY, _SELL = "B", "A"
_MAX_SIZE_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class AssetContext:
    """The running figures of one perpetual from ``metaAndAssetCtxs``."""

    mark_px: Decimal
    oracle_px: Decimal
    mid_px: Decimal | None
    funding_rate_hourly: Decimal
    open_interest_base: Decimal
    day_volume_usd: Decimal


def parse_assets(meta: object) -> dict[str, AssetSpec]:
    """``meta``: every perpetual by symbol; its place in the universe is its id, delisted ones included."""
    row = Row.of(meta, "meta")
    tables = _margin_tables(row)
    universe = row.rows("universe")
    if not universe:
        raise VenueAnswerError("Hyperliquid's meta.universe is empty")
    return {spec.symbol: spec for i, asset in enumerate(universe) for spec in [_asset(asset, i, tables)]}


def _asset(row: Row, asset_id: int, tables: Mapping[int, tuple[MarginTier, ...]]) -> AssetSpec:
    max_leverage, size_decimals = row.integer("maxLeverage"), row.integer("szDecimals")
    if max_leverage < 1 or not 0 <= size_decimals <= _MAX_SIZE_DECIMALS:
        raise broken(row.where, "a perpetual with leverage and lot size", row.raw)
    one_tier = (MarginTier(Decimal(0), max_leverage),)
    table = row.integer("marginTableId") if row.has("marginTableId") else -1
    return AssetSpec(
        symbol=row.text("name"),
        asset_id=asset_id,
        size_decimals=size_decimals,
        max_leverage=max_leverage,
        margin_tiers=tables.get(table, one_tier),
        is_delisted=row.flag("isDelisted"),
        only_isolated=row.flag("onlyIsolated") or row.raw.get("marginMode") in {"strictIsolated", "noCross"},
    )


def _margin_tables(meta: Row) -> dict[int, tuple[MarginTier, ...]]:
    tables: dict[int, tuple[MarginTier, ...]] = {}
    for i, pair in enumerate(as_list(meta.raw.get("marginTables") or [], "meta.marginTables")):
        where = f"meta.marginTables[{i}]"
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], int):
            raise broken(where, "a pair of id and table", pair)
        tiers = Row.of(pair[1], where).rows("marginTiers")
        tables[pair[0]] = tuple(
            sorted(
                (MarginTier(tier.decimal("lowerBound"), tier.integer("maxLeverage")) for tier in tiers),
                key=lambda tier: tier.lower_bound_usd,
            )
        )
    return tables


def parse_contexts(answer: object) -> tuple[object, Mapping[str, Row]]:
    """``metaAndAssetCtxs``: the meta as it came, and each symbol's context, unread."""
    pair = as_list(answer, "metaAndAssetCtxs")
    if len(pair) != 2:
        raise broken("metaAndAssetCtxs", "a pair of meta and contexts", answer)
    universe, contexts = Row.of(pair[0], "meta").rows("universe"), rows(pair[1], "assetCtxs")
    if len(universe) != len(contexts):
        raise VenueAnswerError(
            f"Hyperliquid's metaAndAssetCtxs has {len(universe)} assets but {len(contexts)} contexts"
        )
    named = {asset.text("name"): context for asset, context in zip(universe, contexts, strict=True)}
    return pair[0], {name: Row(row.raw, f"assetCtx of {name}") for name, row in named.items()}


def parse_context(row: Row) -> AssetContext:
    """One asset context; a price of zero is refused."""
    return AssetContext(
        mark_px=row.price("markPx"),
        oracle_px=row.price("oraclePx"),
        mid_px=row.optional_price("midPx"),
        funding_rate_hourly=row.decimal("funding"),
        open_interest_base=row.decimal("openInterest"),
        day_volume_usd=row.decimal("dayNtlVlm"),
    )


def symbol_market(
    asset: AssetSpec,
    context: AssetContext,
    intraday: CandleSeries,
    long_term: CandleSeries,
    open_interest_mean_base: float | None,
) -> SymbolMarket:
    """Context and candles of one symbol, wherever they came from.

    The volume of the day is that of the bars, as in a backtest; the venue's own where they are too few.
    """
    of_bars_usd = day_volume_usd(intraday.frame, intraday.interval)
    return SymbolMarket(
        asset=asset,
        mid_px=context.mid_px,
        mark_px=context.mark_px,
        oracle_px=context.oracle_px,
        funding_rate_hourly=float(context.funding_rate_hourly),
        open_interest_base=float(context.open_interest_base),
        day_volume_usd=float(context.day_volume_usd) if of_bars_usd is None else of_bars_usd,
        intraday=intraday,
        long_term=long_term,
        open_interest_mean_base=open_interest_mean_base,
    )


def parse_account(
    state: object, orders: object, marks: Sequence[tuple[str, Decimal]], taken_at_ms: int
) -> AccountSnapshot:
    """``clearinghouseState`` and ``frontendOpenOrders``.

    Equity is ``accountValue`` (``totalRawUsd`` may be negative); ``withdrawable`` is free margin only.
    """
    row = Row.of(state, "clearinghouseState")
    summary = row.row("marginSummary")
    positions = (_position(item.row("position")) for item in row.rows("assetPositions"))
    return AccountSnapshot(
        taken_at_ms=taken_at_ms,
        account_value_usd=summary.decimal("accountValue"),
        free_margin_usd=row.decimal("withdrawable"),
        margin_used_usd=summary.decimal("totalMarginUsed"),
        positions=tuple(position for position in positions if position.size_base != 0),
        open_orders=tuple(_open_order(order) for order in rows(orders, "frontendOpenOrders")),
        marks=tuple(marks),
        venue_time_ms=row.integer("time"),
    )


def _position(row: Row) -> Position:
    leverage = row.row("leverage")
    funding = row.row("cumFunding").decimal("sinceOpen") if row.has("cumFunding") else Decimal(0)
    return Position(
        symbol=row.text("coin"),
        size_base=row.decimal("szi"),
        entry_px=row.price("entryPx"),
        leverage=leverage.integer("value"),
        is_cross=leverage.text("type") == "cross",
        unrealized_pnl_usd=row.decimal("unrealizedPnl"),
        margin_used_usd=row.decimal("marginUsed"),
        liquidation_px=row.optional_decimal("liquidationPx"),
        funding_since_open_usd=funding,
    )


def _open_order(row: Row) -> OpenOrder:
    is_trigger = row.flag("isTrigger")
    size, original = row.decimal("sz"), row.decimal("origSz")
    return OpenOrder(
        symbol=row.text("coin"),
        oid=row.integer("oid"),
        cloid=row.optional_text("cloid"),
        is_buy=is_buy(row),
        size_base=size,
        limit_px=row.decimal("limitPx"),
        reduce_only=row.flag("reduceOnly"),
        placed_at_ms=row.integer("timestamp"),
        trigger_px=row.price("triggerPx") if is_trigger else None,
        leg=_leg(row) if is_trigger and row.flag("reduceOnly") else None,
        is_whole_position=row.flag("isPositionTpsl") and original == 0,
    )


def _leg(row: Row) -> Leg | None:
    """From ``orderType`` ("Stop Market", "Take Profit Limit", …); an unknown type is no protection leg."""
    order_type = row.text("orderType")
    return next((leg for name, leg in _LEG_BY_TYPE.items() if order_type.startswith(name)), None)


def is_buy(row: Row) -> bool:
    """``side``: ``B`` bids, ``A`` asks."""
    side = row.text("side")
    if side not in {_BUY, _SELL}:
        raise broken(f"{row.where}.side", "'B' or 'A'", side)
    return side == _BUY


def parse_fills(answer: object) -> tuple[Fill, ...]:
    """``userFillsByTime``, oldest first: the venue has answered in both orders over the years."""
    fills = (_fill(row) for row in rows(answer, "userFillsByTime"))
    return tuple(sorted(fills, key=lambda fill: (fill.time_ms, fill.tid)))


def _fill(row: Row) -> Fill:
    size = row.decimal("sz")
    return Fill(
        symbol=row.text("coin"),
        time_ms=row.integer("time"),
        px=row.decimal("px"),
        size_base=size if is_buy(row) else -size,
        fee_usd=row.decimal("fee"),
        closed_pnl_usd=row.decimal("closedPnl"),
        oid=row.integer("oid"),
        tid=row.integer("tid") if row.has("tid") else 0,
        direction=row.text("dir"),
        cloid=row.optional_text("cloid"),
    )


def parse_funding(answer: object) -> tuple[tuple[int, str, Decimal], ...]:
    """``userFunding`` as (time, coin, paid): ``usdc`` is the account's cash flow, paying its negative."""
    payments = []
    for row in rows(answer, "userFunding"):
        delta = row.row("delta")
        payments.append((row.integer("time"), delta.text("coin"), -delta.decimal("usdc")))
    return tuple(sorted(payments))
