"""Entry price, PnL, fees, funding, isolated margin: each scenario computed by hand in its docstring."""

from dataclasses import replace

import pytest
from simulated_market import FREE, RULES, D, account, fills, market, protect, send, trade

from wonttrade_dagster.core.errors import MoneyIdentityError, UsageError
from wonttrade_dagster.core.model import AssetSpec, Leg, MarginTier
from wonttrade_dagster.core.simulation import (
    LeverageSetting,
    Quote,
    Tif,
    VenueRules,
    account_snapshot,
    account_value_usd,
    check_identities,
    deposit,
    free_margin_usd,
    liquidation_px,
    maintenance_usd,
    mark_to,
    open_account,
    pay_funding,
    set_leverage,
    update_isolated_margin,
    with_marks,
)
from wonttrade_dagster.core.simulation.fills import direction, fee_usd


@pytest.mark.hand_computed("long")
def test_a_long_round_trip_earns_the_price_difference_less_two_fees() -> None:
    """Buy 0.1 at 50,000, sell at 51,000: +100. Fees 5,000·0.00045 = 2.25 and 5,100·0.00045 = 2.295."""
    state = trade(trade(account(), "0.1", 50_000, RULES), "-0.1", 51_000, RULES)
    assert state.realized_pnl_usd == 100
    assert state.fees_usd == D("4.545")
    assert account_value_usd(state) == D("10095.455")
    assert not state.positions


@pytest.mark.hand_computed("short")
def test_a_short_round_trip_earns_when_the_price_falls() -> None:
    """Sell 0.2 at 50,000, buy at 49,000: 0.2·1,000 = +200."""
    state = trade(trade(account(), "-0.2", 50_000), "0.2", 49_000)
    assert account_value_usd(state) == 10_200


@pytest.mark.hand_computed("increase")
def test_an_increase_averages_the_entry() -> None:
    """0.1 at 50,000 and 0.3 at 52,000: (5,000 + 15,600) / 0.4 = 51,500; at mark 52,000 +0.4·500 = 200."""
    state = trade(trade(account(), "0.1", 50_000), "0.3", 52_000)
    assert state.positions["BTC"].entry_px == 51_500
    assert account_value_usd(state) == 10_200


@pytest.mark.hand_computed("reduce")
def test_a_decrease_keeps_the_entry_and_realises_its_share() -> None:
    """0.4 at 50,000, sell 0.1 at 53,000: +300 realised, entry stays, 0.3·3,000 = 900 open."""
    state = trade(trade(account(), "0.4", 50_000), "-0.1", 53_000)
    assert state.positions["BTC"].entry_px == 50_000
    assert state.realized_pnl_usd == 300
    assert account_value_usd(state) == 11_200


@pytest.mark.hand_computed("flip")
def test_a_flip_realises_the_old_side_and_restarts_the_entry() -> None:
    """Long 0.1 at 50,000, sell 0.3 at 49,000: −100 realised, then short 0.2 from 49,000."""
    state, outcome = send(trade(account(), "0.1", 50_000), "-0.3", 49_000)
    assert fills(outcome.events)[0].direction == "Long > Short"
    assert state.realized_pnl_usd == -100
    assert (state.size_base("BTC"), state.positions["BTC"].entry_px) == (D("-0.2"), 49_000)


@pytest.mark.parametrize(
    ("held", "signed", "word"),
    [
        ("0", "1", "Open Long"),
        ("1", "1", "Open Long"),
        ("0", "-1", "Open Short"),
        ("-1", "-1", "Open Short"),
        ("2", "-1", "Close Long"),
        ("1", "-1", "Close Long"),
        ("-2", "1", "Close Short"),
        ("1", "-2", "Long > Short"),
        ("-1", "2", "Short > Long"),
    ],
)
def test_directions_are_the_venues_words(held: str, signed: str, word: str) -> None:
    assert direction(D(held), D(signed)) == word


@pytest.mark.hand_computed("fee rounding")
def test_fees_are_cut_not_rounded() -> None:
    """33333·0.00007·0.00045 = 0.0010499895: cut to 0.001049, rounding would give 0.001050."""
    assert fee_usd(D(33333), D("0.00007"), D("0.00045")) == D("0.001049")


@pytest.mark.hand_computed("fee rounding")
def test_a_recorded_fee_is_reproduced() -> None:
    """protocol.md §2.5: 0.01 ETH at 2,067.2 with the discounted rate 0.000432: 0.00893030… → 0.008930."""
    assert fee_usd(D("2067.2"), D("0.01"), D("0.000432")) == D("0.008930")


@pytest.mark.hand_computed("funding")
def test_funding_over_a_day_in_both_signs() -> None:
    """Long 0.5 at 40,000: 12 h at +0.0001 cost 12·2 = 24, 12 h at −0.00005 give 12·1 = 12 back."""
    state = trade(account(), "0.5", 40_000)
    for hour in range(24):
        rate = D("0.0001") if hour < 12 else D("-0.00005")
        state, _ = pay_funding(state, "BTC", rate, D(40_000), hour * 3_600_000)
    assert state.funding_usd == 12
    assert state.positions["BTC"].funding_usd == 12
    assert account_value_usd(state) == 9_988


@pytest.mark.hand_computed("funding", "short")
def test_a_short_receives_positive_funding_at_the_oracle_not_at_the_mark() -> None:
    """Short 0.5, mark 40,000, oracle 41,000, rate 0.0001: receives 0.5·41,000·0.0001 = 2.05."""
    state, (payment,) = pay_funding(trade(account(), "-0.5", 40_000), "BTC", D("0.0001"), D(41_000), 1)
    assert payment.paid_usd == D("-2.05")
    assert account_value_usd(state) == D("10002.05")


def test_funding_while_flat_is_nothing() -> None:
    state = account()
    assert pay_funding(state, "BTC", D("0.01"), D(40_000), 1) == (state, ())


@pytest.mark.hand_computed("margin")
def test_free_margin_is_value_less_the_margin_used() -> None:
    """Long 1 at 50,000 with 10x: margin 5,000. Mark 51,000: value 11,000, margin 5,100, free 5,900."""
    state = with_marks(trade(account(), "1", 50_000), {"BTC": _at(51_000)})
    assert free_margin_usd(state, RULES) == 5_900


@pytest.mark.hand_computed("margin")
def test_free_margin_leaves_ten_percent_of_the_notional_at_high_leverage() -> None:
    """Long 1 at 50,000 with 40x: margin used 1,250, but 10 % of 50,000 must stay: 10,000 − 5,000."""
    state = trade(account(leverage=25), "1", 50_000)
    assert free_margin_usd(state, RULES) == 5_000


@pytest.mark.hand_computed("margin")
def test_a_recorded_isolated_position_is_reproduced() -> None:
    """protocol.md §2.3, HYPE: long 2 at 37.829, 10x: cost 75.658, margin 7.5658, fee 0.034046 out of it:
    raw = 7.5658 − 75.658 − 0.034046 = −68.126246; at mark 37.826 equity 7.525754 and the recorded
    liquidation price 35.8559189474 (maintenance rate 1/20).
    """
    hype = AssetSpec("HYPE", 7, 2, 10, (MarginTier(D(0), 10),))
    rules = VenueRules({"HYPE": hype})
    state = open_account(D("83.347684"), 0)
    state, _ = set_leverage(state, "HYPE", LeverageSetting(10, is_cross=False), rules, 0)
    state, outcome = send(state, "2", "37.829", rules, symbol="HYPE")
    assert outcome.error is None
    state = with_marks(state, {"HYPE": _at("37.826", "HYPE")})
    assert state.positions["HYPE"].isolated_raw_usd == D("-68.126246")
    assert state.cross_raw_usd == D("75.781884")
    snapshot = account_snapshot(state, rules)
    (position,) = snapshot.positions
    assert (position.margin_used_usd, position.unrealized_pnl_usd) == (D("7.525754"), D("-0.006"))
    assert snapshot.account_value_usd == D("83.307638")
    assert snapshot.free_margin_usd == D("75.781884")
    assert round(liquidation_px(state, "HYPE", rules) or D(0), 10) == D("35.8559189474")


@pytest.mark.hand_computed("reduce")
def test_an_isolated_partial_close_gives_back_its_share_of_the_equity() -> None:
    """Long 0.2 at 50,000, 10x: margin 1,000. Sell 0.1 at 52,000: equity 1,400, half of it returns."""
    state = trade(trade(account(is_cross=False), "0.2", 50_000), "-0.1", 52_000)
    assert state.cross_raw_usd == 9_000 + 700
    assert state.positions["BTC"].isolated_raw_usd + D("0.1") * 52_000 == 700
    assert account_value_usd(state) == 10_400


@pytest.mark.hand_computed("funding")
def test_isolated_funding_comes_out_of_the_positions_margin() -> None:
    """Long 0.2 at 50,000, rate 0.001: 10 USD less margin, the cross cash is untouched."""
    before = trade(account(is_cross=False), "0.2", 50_000)
    after, _ = pay_funding(before, "BTC", D("0.001"), D(50_000), 1)
    assert after.cross_raw_usd == before.cross_raw_usd
    assert before.positions["BTC"].isolated_raw_usd - after.positions["BTC"].isolated_raw_usd == 10


@pytest.mark.hand_computed("margin")
def test_isolated_margin_can_be_added_and_taken_back_down_to_the_initial_margin() -> None:
    """Margin 1,000 at 10x of 10,000. Add 500, take 500 back; one more dollar is refused."""
    state = trade(account(is_cross=False), "0.2", 50_000)
    for amount in (500, -500):
        state, outcome = update_isolated_margin(state, "BTC", D(amount), RULES, 1)
        assert outcome.ok
    assert state.cross_raw_usd == 9_000
    assert not update_isolated_margin(state, "BTC", D(-1), RULES, 1)[1].ok
    assert not update_isolated_margin(state, "BTC", D(9_001), RULES, 1)[1].ok
    crossed = trade(account(), "0.2", 50_000)
    assert update_isolated_margin(crossed, "BTC", D(1), RULES, 1)[1].error == (
        "Position does not use isolated margin."
    )


@pytest.mark.hand_computed("tier change")
def test_maintenance_is_continuous_at_the_tier_bound() -> None:
    """BTC: 150M·1/80 = 1.875M. At 200M: 200M·1/40 − 150M·(1/40 − 1/80) = 5M − 1.875M = 3.125M."""
    btc = RULES.assets["BTC"]
    assert maintenance_usd(btc, D(150_000_000)) == 1_875_000
    assert maintenance_usd(btc, D(200_000_000)) == 3_125_000


@pytest.mark.parametrize(("signed", "expected"), [("1", 40_506), ("-1", 59_259)])
@pytest.mark.hand_computed("liquidation cross")
def test_the_cross_liquidation_price_follows_the_documented_formula(signed: str, expected: int) -> None:
    """10,000 USD, 1 BTC at 50,000, l = 1/80, maintenance 625, available 9,375.
    Long 50,000 − 9,375/(1 − 1/80) = 40,506.3; short 50,000 + 9,375/(1 + 1/80) = 59,259.3.
    """
    state = trade(account(), signed, 50_000)
    assert int(liquidation_px(state, "BTC", RULES) or 0) == expected


@pytest.mark.hand_computed("tier change")
def test_the_liquidation_price_of_a_short_knows_the_next_tier() -> None:
    """Short 2,000 BTC at 70,000 (140M) with 20M: tier 2 begins at 75,000.
    Equity 160M − 2,000p = 2,000p/40 − 1.875M gives p = 161.875M/2,050 = 78,963.41 (tier 1 alone: 79,012).
    """
    state = open_account(D(20_000_000), 0)
    state, _ = set_leverage(state, "BTC", LeverageSetting(10), FREE, 0)
    for _ in range(10):
        state = trade(state, "-200", 70_000)
    assert round(liquidation_px(state, "BTC", FREE) or D(0), 2) == D("78963.41")


@pytest.mark.hand_computed("liquidation cross")
def test_a_price_that_cannot_liquidate_is_none() -> None:
    """0.1 long at 50,000 on 10,000 USD: equity stays above 5,000 even at a price of 0."""
    assert liquidation_px(trade(account(), "0.1", 50_000), "BTC", RULES) is None


@pytest.mark.hand_computed("fee")
def test_a_resting_order_pays_the_maker_fee_at_its_own_price() -> None:
    """Buy 0.1 at 49,000 rests at 50,000; ask 48,900 comes: fills at 49,000, fee 4,900·0.00015 = 0.735."""
    state, outcome = send(account(), "0.1", 50_000, RULES, limit=49_000, tif=Tif.GTC)
    assert outcome.status == "open"
    state, events = mark_to(state, {"BTC": _at(48_900)}, RULES, 1)
    (fill,) = fills(events)
    assert (fill.px, fill.fee_usd, fill.crossed) == (49_000, D("0.735"), False)


def test_deposits_are_not_profit_and_must_be_positive() -> None:
    state, _ = deposit(account(), D(500), 1)
    assert (state.deposits_usd, state.realized_pnl_usd) == (10_500, 0)
    with pytest.raises(UsageError):
        deposit(state, D(0), 1)
    with pytest.raises(UsageError):
        open_account(D("NaN"), 0)


@pytest.mark.parametrize(
    "broken",
    [
        {"cross_raw_usd": D(10_001)},
        {"fees_usd": D(-1)},
        {"funding_usd": D("0.000001")},
        {"net_filled_base": {"BTC": D("0.3")}},
        {"net_filled_base": {}},
    ],
)
def test_a_state_that_does_not_add_up_is_refused(broken: dict[str, object]) -> None:
    state = trade(account(), "0.2", 50_000)
    check_identities(state)
    with pytest.raises(MoneyIdentityError):
        check_identities(replace(state, **broken))


def test_the_snapshot_shows_standing_triggers_with_their_leg() -> None:
    state, _ = protect(trade(account(), "0.2", 50_000), Leg.STOP_LOSS, 48_000, 50_000, size="0")
    (order,) = account_snapshot(state, FREE).open_orders
    assert (order.leg, order.trigger_px, order.size_base) == (Leg.STOP_LOSS, 48_000, D("0.2"))
    assert order.is_whole_position


def _at(px: object, symbol: str = "BTC") -> Quote:
    return market(str(px), symbol)[symbol]
