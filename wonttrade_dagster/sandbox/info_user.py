"""``/info`` requests about one user (protocol §2.3 to §2.6, §12).

Belongs here: the JSON of a user's answers. Does not belong here: market answers (``info_market``), rows of
orders and fills (``rows``), money arithmetic (``core.simulation.margin``).
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from wonttrade_dagster.core.simulation.margin import (
    cross_scope,
    free_margin_usd,
    liquidation_px,
    margin_used_usd,
    unrealized_usd,
    value_usd,
)
from wonttrade_dagster.core.simulation.records import ExchangeState, PerpPosition, StandingOrder, VenueRules
from wonttrade_dagster.sandbox import fee_schedule, info_market, rows, spot
from wonttrade_dagster.sandbox.account_log import Account
from wonttrade_dagster.sandbox.answers import Json
from wonttrade_dagster.sandbox.envelopes import SchemaError, read_address, read_oid
from wonttrade_dagster.sandbox.info_market import MAX_RANGE_ROWS, time_range
from wonttrade_dagster.sandbox.limits import request_cap
from wonttrade_dagster.sandbox.numbers import text
from wonttrade_dagster.sandbox.venue import LoopbackVenue
from wonttrade_dagster.sandbox.walk import DAY_MS

MAX_FILLS = 2_000
MAX_SAMPLES = 64
"""About as many points as the venue gives to a period of its portfolio."""
USD_DECIMALS = Decimal("0.000001")
FINE_DECIMALS = Decimal("0.0000000001")
PERIODS = (("day", DAY_MS), ("week", 7 * DAY_MS), ("month", 30 * DAY_MS), ("allTime", 0))

Body = Mapping[str, Any]


def answer(venue: LoopbackVenue, body: Body) -> Json:
    """The answer to a user's request. Raises ``KeyError`` for a type that is not one, ``SchemaError``."""
    handle = _ANSWERS[str(body["type"])]
    user = _user(body)
    return handle(venue, venue.account(user), body)


def types() -> frozenset[str]:
    """The request types answered here."""
    return frozenset(_ANSWERS)


def usd(amount: Decimal) -> str:
    """An amount of USD to 6 decimals, in the venue's style."""
    return text(amount.quantize(USD_DECIMALS))


def _user(body: Body) -> str:
    user = body.get("user")
    if not isinstance(user, str) or not user.startswith("0x"):
        raise SchemaError("user is missing")
    return read_address(user)


def clearinghouse_state(venue: LoopbackVenue, account: Account) -> dict[str, Any]:
    """``clearinghouseState`` (protocol §2.3)."""
    state, rules = account.state, venue.rules
    positions = list(state.positions.values())
    cross = [p for p in positions if state.setting(p.symbol, rules).is_cross]
    isolated_raw = sum((p.isolated_raw_usd for p in positions), Decimal(0))
    return {
        "marginSummary": _summary(state, positions, state.cross_raw_usd + isolated_raw, rules),
        "crossMarginSummary": _summary(state, cross, state.cross_raw_usd, rules),
        "crossMaintenanceMarginUsed": usd(cross_scope(state, rules).maintenance_usd),
        "withdrawable": usd(free_margin_usd(state, rules)),
        "assetPositions": [
            {"type": "oneWay", "position": _position(account, position, rules)} for position in positions
        ],
        "time": venue.market.now_ms(),
    }


def _summary(
    state: ExchangeState, positions: list[PerpPosition], raw_usd: Decimal, rules: VenueRules
) -> dict[str, str]:
    values = [value_usd(state, position) for position in positions]
    used = sum((margin_used_usd(state, position, rules) for position in positions), Decimal(0))
    return {
        "accountValue": usd(raw_usd + sum(values, Decimal(0))),
        "totalNtlPos": usd(sum((abs(value) for value in values), Decimal(0))),
        "totalRawUsd": usd(raw_usd),
        "totalMarginUsed": usd(used),
    }


def _position(account: Account, position: PerpPosition, rules: VenueRules) -> dict[str, Any]:
    state, spec = account.state, rules.assets[position.symbol]
    setting = state.setting(position.symbol, rules)
    leverage: dict[str, Any] = {
        "type": "cross" if setting.is_cross else "isolated",
        "value": setting.leverage,
    }
    if not setting.is_cross:
        leverage["rawUsd"] = usd(position.isolated_raw_usd)
    pnl = unrealized_usd(state, position)
    margin_at_entry = abs(position.size_base) * position.entry_px / setting.leverage
    liquidation = liquidation_px(state, position.symbol, rules)
    paid = [f.paid_usd for f in account.fundings if f.symbol == position.symbol]
    return {
        "coin": position.symbol,
        "szi": text(position.size_base),
        "leverage": leverage,
        "entryPx": text(position.entry_px.quantize(Decimal(1).scaleb(spec.size_decimals - 6))),
        "positionValue": usd(abs(value_usd(state, position))),
        "unrealizedPnl": usd(pnl),
        "returnOnEquity": text((pnl / margin_at_entry).quantize(FINE_DECIMALS)),
        "liquidationPx": None if liquidation is None else text(liquidation.quantize(FINE_DECIMALS)),
        "marginUsed": usd(margin_used_usd(state, position, rules)),
        "maxLeverage": spec.max_leverage,
        "cumFunding": {
            "allTime": usd(sum(paid, Decimal(0))),
            "sinceOpen": usd(position.funding_usd),
            "sinceChange": usd(position.funding_usd),
        },
    }


def _clearinghouse(venue: LoopbackVenue, account: Account, _body: Body) -> Json:
    return clearinghouse_state(venue, account)


def _newest_first(account: Account) -> list[StandingOrder]:
    """Standing orders and the children that wait for one of them, as the venue lists them."""
    waiting = [order for order in account.waiting_children() if order.oid]
    return sorted([*account.state.orders.values(), *waiting], key=lambda order: -order.oid)


def _open_orders(_venue: LoopbackVenue, account: Account, _body: Body) -> Json:
    return [rows.short_order(order) for order in _newest_first(account)]


def _frontend_orders(_venue: LoopbackVenue, account: Account, _body: Body) -> Json:
    return [rows.open_order(order, account) for order in _newest_first(account)]


def _fills(_venue: LoopbackVenue, account: Account, _body: Body) -> Json:
    return [rows.fill(e, account.address) for e in reversed(account.executions[-MAX_FILLS:])]


def _fills_by_time(venue: LoopbackVenue, account: Account, body: Body) -> Json:
    first_ms, last_ms = time_range(body, venue.market.now_ms())
    found = [e for e in account.executions if first_ms <= e.time_ms <= last_ms]
    return [rows.fill(e, account.address) for e in found[:MAX_FILLS]]


def _order_status(_venue: LoopbackVenue, account: Account, body: Body) -> Json:
    row = account.find(read_oid(body.get("oid")))
    return {"status": "unknownOid"} if row is None else {"status": "order", "order": rows.status(row)}


def _historical(_venue: LoopbackVenue, account: Account, _body: Body) -> Json:
    return [rows.status(row) for row in reversed(account.statuses[-MAX_FILLS:])]


def _funding(venue: LoopbackVenue, account: Account, body: Body) -> Json:
    first_ms, last_ms = time_range(body, venue.market.now_ms())
    found = [f for f in account.fundings if first_ms <= f.time_ms <= last_ms]
    return [rows.funding(f) for f in found[:MAX_RANGE_ROWS]]


def _ledger(venue: LoopbackVenue, account: Account, body: Body) -> Json:
    first_ms, last_ms = time_range(body, venue.market.now_ms())
    found = [row for row in account.ledger if first_ms <= row.time_ms <= last_ms]
    return [rows.ledger(row) for row in found[:MAX_RANGE_ROWS]]


def _portfolio(venue: LoopbackVenue, account: Account, _body: Body) -> Json:
    now_ms = venue.market.now_ms()
    spans = [(name, now_ms - span if span else 0) for name, span in PERIODS]
    perps = [(f"perp{name[0].upper()}{name[1:]}", since_ms) for name, since_ms in spans]
    return [[name, _period(account, since_ms)] for name, since_ms in [*spans, *perps]]


def _period(account: Account, since_ms: int) -> dict[str, Any]:
    recent = [sample for sample in account.equity if sample.time_ms >= since_ms]
    step = max(1, len(recent) // MAX_SAMPLES)
    samples = recent[:-1:step] + recent[-1:]
    start = samples[0].pnl_usd if samples and since_ms else Decimal(0)
    return {
        "accountValueHistory": [[s.time_ms, usd(s.value_usd)] for s in samples],
        "pnlHistory": [[s.time_ms, usd(s.pnl_usd - start)] for s in samples],
        "vlm": usd(account.volume_usd(since_ms)),
    }


def _rate_limit(venue: LoopbackVenue, account: Account, _body: Body) -> Json:
    return {
        "cumVlm": usd(account.volume_usd()),
        "nRequestsUsed": account.requests_used,
        "nRequestsCap": request_cap(account, venue.options),
    }


def _role(venue: LoopbackVenue, account: Account, _body: Body) -> Json:
    master = venue.agents.master_of(account.address, venue.clock.host_ms())
    if master is not None:
        return {"role": "agent", "data": {"user": master}}
    return {"role": "user" if venue.knows(account.address) else "missing"}


def _agents(venue: LoopbackVenue, account: Account, _body: Body) -> Json:
    agents = venue.agents.of(account.address, venue.clock.host_ms())
    return [
        {"name": agent.name, "address": agent.address, "validUntil": agent.valid_until_ms}
        for agent in agents
        if agent.name
    ]


def _spot(venue: LoopbackVenue, account: Account, _body: Body) -> Json:
    return spot.clearinghouse_state(account, is_known=venue.knows(account.address))


def _fees(venue: LoopbackVenue, account: Account, _body: Body) -> Json:
    return fee_schedule.user_fees(account, venue.rules, venue.market.now_ms())


def _active_asset(venue: LoopbackVenue, account: Account, body: Body) -> Json:
    coin = body.get("coin")
    if coin not in venue.market.coins():
        raise SchemaError("coin is missing or unknown")
    return rows.active_asset(venue.rules, venue.market.mark_px(str(coin)), account, str(coin))


def web_data(venue: LoopbackVenue, account: Account) -> dict[str, Any]:
    """``webData2``: what the venue's own front end shows. Its shape was never recorded."""
    agents = venue.agents.of(account.address, venue.clock.host_ms())
    unnamed = next((agent for agent in agents if not agent.name), None)
    meta, contexts = info_market.answer(venue.market, {"type": "metaAndAssetCtxs"})
    return {
        "clearinghouseState": clearinghouse_state(venue, account),
        "leadingVaults": [],
        "totalVaultEquity": "0.0",
        "openOrders": [rows.open_order(order, account) for order in _newest_first(account)],
        "agentAddress": unnamed.address if unnamed else None,
        "agentValidUntil": unnamed.valid_until_ms if unnamed else None,
        "cumLedger": usd(account.state.deposits_usd),
        "meta": meta,
        "assetCtxs": contexts,
        "serverTime": venue.market.now_ms(),
        "isVault": False,
        "user": account.address,
        "twapStates": [],
        "spotState": _spot(venue, account, {}),
        "perpsAtOpenInterestCap": [],
    }


def _referral(_venue: LoopbackVenue, account: Account, _body: Body) -> Json:
    return {
        "referredBy": None,
        "cumVlm": usd(account.volume_usd()),
        "unclaimedRewards": "0.0",
        "claimedRewards": "0.0",
        "builderRewards": "0.0",
        "referrerState": {"stage": "needToCreateCode", "data": {"required": "10000.0"}},
        "rewardHistory": [],
    }


def _staking(_venue: LoopbackVenue, _account: Account, _body: Body) -> Json:
    amounts = dict.fromkeys(("delegated", "undelegated", "totalPendingWithdrawal"), "0.0")
    return {**amounts, "nPendingWithdrawals": 0}


def _nothing(_venue: LoopbackVenue, _account: Account, _body: Body) -> Json:
    return []


_ANSWERS: Mapping[str, Callable[[LoopbackVenue, Account, Body], Any]] = {
    "clearinghouseState": _clearinghouse,
    "spotClearinghouseState": _spot,
    "openOrders": _open_orders,
    "frontendOpenOrders": _frontend_orders,
    "userFills": _fills,
    "userFillsByTime": _fills_by_time,
    "orderStatus": _order_status,
    "historicalOrders": _historical,
    "userFunding": _funding,
    "userNonFundingLedgerUpdates": _ledger,
    "portfolio": _portfolio,
    "userRateLimit": _rate_limit,
    "userFees": _fees,
    "userRole": _role,
    "extraAgents": _agents,
    "activeAssetData": _active_asset,
    "subAccounts": lambda _venue, _account, _body: None,
    "userToMultiSigSigners": lambda _venue, _account, _body: None,
    "userDexAbstraction": lambda _venue, _account, _body: None,
    "maxBuilderFee": lambda _venue, _account, _body: 0,
    "webData2": lambda venue, account, _body: web_data(venue, account),
    "referral": _referral,
    "delegatorSummary": _staking,
    "delegations": _nothing,
    "delegatorRewards": _nothing,
    "twapHistory": _nothing,
    "userVaultEquities": _nothing,
    "userTwapSliceFills": _nothing,
    "delegatorHistory": _nothing,
    "userAbstraction": lambda _venue, _account, _body: "disabled",
}
