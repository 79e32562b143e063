"""The simulated exchange: a pure step function shared by the loopback venue and the backtest.

Belongs here: one account's orders, fills, margin, triggers, liquidation, fees and funding, as functions
``(state, …) -> (new state, outcome or events)``, and the money identities that every step must pass.
Does not belong here: HTTP, signatures, wire formats (``sandbox``), the ports (``adapters.simulated``),
where prices come from.

Sources: ``../shared/venue/protocol.md`` §4, §8-10. The rules as they were chosen, with the reasons where the
venue's behaviour is not established, stand in the docstrings of the modules:

- ``records``: the nouns, ``admission``: which orders are refused, ``orders``: place, cancel, leverage,
- ``fills``: what a fill does to an account, ``marks``: a new price fires triggers and matches orders,
- ``liquidation``, ``margin``: what an account is worth and needs, ``identities``: the check,
- ``bars``: walking candles between two decisions, ``slippage``, ``quotes``: what a taker pays on them,
- ``history``: the log of events.

The functions (all money ``Decimal``, all times UTC milliseconds)::

    open_account(deposit_usd, time_ms) -> ExchangeState
    deposit(state, amount_usd, time_ms) -> (state, events)
    withdraw(state, amount_usd, rules, time_ms) -> (state, ChangeOutcome)
    place_order(state, request, quotes, rules, time_ms) -> (state, OrderOutcome)
    cancel_order(state, oid_or_cloid, time_ms) -> (state, ChangeOutcome)
    set_leverage(state, symbol, LeverageSetting(leverage, is_cross), rules, time_ms) -> (state, ChangeOutcome)
    update_isolated_margin(state, symbol, amount_usd, rules, time_ms) -> (state, ChangeOutcome)
    mark_to(state, quotes, rules, time_ms) -> (state, events)        # quotes: Mapping[symbol, Quote]
    pay_funding(state, symbol, rate, oracle_px, time_ms) -> (state, events)
    walk_bar(state, symbol, bar, rules, slippage) -> (state, events)
    walk_bars(state, table, rules, slippage) -> (state, events)      # table: BarTable, several symbols
    walk_opens(state, opens, rules, slippage, known, time_ms) -> (state, events)
    account_snapshot(state, rules, at_ms, orders) -> core.model.AccountSnapshot
    account_value_usd(state), free_margin_usd(state, rules), liquidation_px(state, symbol, rules)
    check_identities(state)                                          # raises MoneyIdentityError

The marks that value an account are those of its last step (``state.marks``): call ``mark_to`` (or
``with_marks(state, quotes)``, which moves nothing but the marks) before asking what it is worth.
``History`` collects the events: ``record(events)``, ``fills(since_ms)``, ``find(cloid)``, ``status(oid)``.
"""

from wonttrade_dagster.core.simulation.bar_table import Bar, BarColumns, BarStretch, BarTable
from wonttrade_dagster.core.simulation.bars import walk_bar, walk_bars, walk_opens
from wonttrade_dagster.core.simulation.events import (
    ChangeOutcome,
    Deposited,
    Event,
    Execution,
    FundingPayment,
    Liquidation,
    OrderOutcome,
    OrderUpdate,
    TriggerFired,
)
from wonttrade_dagster.core.simulation.history import History
from wonttrade_dagster.core.simulation.identities import check_identities
from wonttrade_dagster.core.simulation.margin import (
    account_value_usd,
    cross_scope,
    cross_value_usd,
    free_margin_usd,
    isolated_scope,
    liquidation_px,
    maintenance_usd,
    margin_used_usd,
    unrealized_usd,
)
from wonttrade_dagster.core.simulation.marks import mark_to, pay_funding
from wonttrade_dagster.core.simulation.orders import (
    average_px,
    cancel_order,
    deposit,
    open_account,
    place_order,
    set_leverage,
    update_isolated_margin,
    with_marks,
    withdraw,
)
from wonttrade_dagster.core.simulation.quotes import bar_quote, with_slippage
from wonttrade_dagster.core.simulation.records import (
    ExchangeState,
    Level,
    LeverageSetting,
    OrderRequest,
    OrderStatus,
    PerpPosition,
    Quote,
    StandingOrder,
    Tif,
    Trigger,
    VenueRules,
)
from wonttrade_dagster.core.simulation.slippage import Slippage, SlippageModel, Taking, slippage_bps
from wonttrade_dagster.core.simulation.snapshot import account_snapshot, open_orders

__all__ = [
    "Bar",
    "BarColumns",
    "BarStretch",
    "BarTable",
    "ChangeOutcome",
    "Deposited",
    "Event",
    "ExchangeState",
    "Execution",
    "FundingPayment",
    "History",
    "Level",
    "LeverageSetting",
    "Liquidation",
    "OrderOutcome",
    "OrderRequest",
    "OrderStatus",
    "OrderUpdate",
    "PerpPosition",
    "Quote",
    "Slippage",
    "SlippageModel",
    "StandingOrder",
    "Taking",
    "Tif",
    "Trigger",
    "TriggerFired",
    "VenueRules",
    "account_snapshot",
    "account_value_usd",
    "average_px",
    "bar_quote",
    "cancel_order",
    "check_identities",
    "cross_scope",
    "cross_value_usd",
    "deposit",
    "free_margin_usd",
    "isolated_scope",
    "liquidation_px",
    "maintenance_usd",
    "margin_used_usd",
    "mark_to",
    "open_account",
    "open_orders",
    "pay_funding",
    "place_order",
    "set_leverage",
    "slippage_bps",
    "unrealized_usd",
    "update_isolated_margin",
    "walk_bar",
    "walk_bars",
    "walk_opens",
    "with_marks",
    "with_slippage",
    "withdraw",
]
