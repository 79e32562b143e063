"""Cases 27-28: leverage, margin mode, maintenance."""

import pytest
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info

from edge_cases.parts import BTC, ME, D, cycle, decision, entry, held, plan, snapshot, target
from wonttrade_dagster.adapters.hyperliquid import HyperliquidVenue
from wonttrade_dagster.core.model import SetLeverage
from wonttrade_dagster.core.simulation import maintenance_usd


def test_27_the_margin_mode_cannot_be_switched_with_a_position(info: Info, exchange: Exchange) -> None:
    """Leverage and mode travel in one call: the SDK's default of cross is refused on an isolated position."""
    exchange.update_leverage(5, "BTC", is_cross=False)
    exchange.market_open("BTC", is_buy=True, sz=0.01)
    answer = exchange.update_leverage(7, "BTC")
    assert answer["response"] == "Cannot switch leverage type with open position."
    leverage = info.user_state(ME)["assetPositions"][0]["position"]["leverage"]
    assert (leverage["type"], leverage["value"]) == ("isolated", 5)


def test_27_a_change_of_leverage_keeps_the_mode_of_the_position(
    exchange: Exchange, venue: HyperliquidVenue
) -> None:
    """A careless call resets isolated to cross and puts the whole account behind one position."""
    exchange.update_leverage(5, "BTC", is_cross=False)
    cycle(venue, decision(target("BTC", "0.01", 76_000, 88_000)))
    report = cycle(venue, decision(target("BTC", "0.02", 76_000, 88_000, margin=220)))
    (change,) = (r.action for r in report.results if isinstance(r.action, SetLeverage))
    assert (change.leverage, change.is_cross) == (8, False), "1,600 / 220, rounded up to an integer"
    assert report.account is not None
    position = report.account.position("BTC")
    assert position is not None
    assert (position.leverage, position.is_cross, position.size_base) == (8, False, D("0.02"))


def test_27_without_a_margin_leverage_is_left_alone() -> None:
    """Setting leverage "to be sure" in each cycle is the careless call."""
    made = plan(
        snapshot(held("BTC", "0.01", is_cross=False)), decision(target("BTC", "0.02", 76_000, 88_000))
    )
    assert [a for a in made.actions if isinstance(a, SetLeverage)] == []


def test_27_a_cross_position_without_a_liquidation_price_is_read(info: Info, venue: HyperliquidVenue) -> None:
    """``liquidationPx`` is null where no price can liquidate: parsers died on it."""
    venue.place(entry(venue))
    assert info.user_state(ME)["assetPositions"][0]["position"]["liquidationPx"] is None
    position = venue.account().position("BTC")
    assert position is not None
    assert position.liquidation_px is None


@pytest.mark.parametrize(
    ("notional", "maintenance"),
    [(80_000, 1_000), (150_000_000, 1_875_000), (200_000_000, 3_125_000)],
)
def test_28_maintenance_is_half_of_the_initial_margin_at_maximum_leverage_by_tier(
    notional: int, maintenance: int
) -> None:
    """Not at the leverage that was set; 40x to 150 M USD, 20x on what lies above: 50 M · 2.5 % more."""
    assert maintenance_usd(BTC, D(notional)) == maintenance


def test_28_tiers_are_read_from_meta_and_the_set_leverage_does_not_move_maintenance(
    info: Info, exchange: Exchange, venue: HyperliquidVenue
) -> None:
    """Engines took half of the leverage in use and expected the liquidation elsewhere."""
    tiers = venue._connection.assets()["BTC"].margin_tiers
    assert [(tier.lower_bound_usd, tier.max_leverage) for tier in tiers] == [(0, 40), (150_000_000, 20)]
    exchange.update_leverage(5, "BTC")
    exchange.market_open("BTC", is_buy=True, sz=0.1)
    state = info.user_state(ME)
    value = D(state["assetPositions"][0]["position"]["positionValue"])
    assert D(state["crossMaintenanceMarginUsed"]) == value / 80
