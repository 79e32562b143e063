"""Cases 1-4: ticks, lots and the text of a number."""

import pytest
import requests
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.signing import sign_l1_action
from sandbox_control import Control

from edge_cases.parts import IOC, ME, D, entry, statuses
from wonttrade_dagster.adapters.hyperliquid import HyperliquidVenue
from wonttrade_dagster.core.model import ActionStatus, OrderPurpose
from wonttrade_dagster.core.precision import (
    PriceRounding,
    floor_size,
    is_valid_price,
    marketable_px,
    round_price,
    trigger_limit_px,
)
from wonttrade_dagster.sandbox.accounts import SANDBOX_AGENT_PRIVATE_KEY
from wonttrade_dagster.sandbox.server import Sandbox


def test_01_a_whole_price_above_100_000_is_not_rounded_to_five_figures(exchange: Exchange) -> None:
    """The SDK's own helper moves 123,456.7 by 3.3 USD to 123,460; here integers stay as near as they are."""
    assert exchange._slippage_price("BTC", is_buy=True, slippage=0, px=123_456.7) == 123_460
    assert round_price(D("123456.7"), 5, PriceRounding.NEAREST) == 123_457
    assert is_valid_price(D(123_457), 5)


def test_01_half_a_dollar_above_100_000_is_refused_by_the_venue_and_never_made_here(
    exchange: Exchange, control: Control
) -> None:
    """A price of six figures with a decimal is legal in decimals and illegal in figures: refused."""
    control("price", {"coin": "BTC", "mid": 123_456, "hold_ms": 600_000})
    (refused,) = statuses(exchange.order("BTC", True, 0.01, 123_457.5, IOC))
    assert "tick size" in refused["error"] or "invalid price" in refused["error"]
    limit = round_price(D("123457.5"), 5, PriceRounding.UP)
    assert "filled" in statuses(exchange.order("BTC", True, 0.01, float(limit), IOC))[0]


@pytest.mark.parametrize("is_buy", [True, False])
def test_02_limits_round_away_from_the_mid_in_figures_and_decimals(
    exchange: Exchange, control: Control, is_buy: bool
) -> None:
    """A limit rounded in decimals only is refused, one rounded inwards never fills; here neither."""
    control("price", {"coin": "ETH", "mid": "3000.5", "hold_ms": 600_000})
    raw = D("3003.57") if is_buy else D("2997.53")
    (refused,) = statuses(exchange.order("ETH", is_buy, 0.05, float(raw), IOC))
    assert "tick size" in refused["error"] or "invalid price" in refused["error"]
    limit = marketable_px(raw, 4, is_buy=is_buy, slippage_bps=D(0))
    assert limit == (D("3003.6") if is_buy else D("2997.5"))
    assert "filled" in statuses(exchange.order("ETH", is_buy, 0.05, float(limit), IOC))[0]
    trigger_limit = trigger_limit_px(raw, 4, is_buy=is_buy)
    outermost = raw * (D("1.1") if is_buy else D("0.9"))
    assert is_valid_price(trigger_limit, 4)
    assert trigger_limit >= outermost if is_buy else trigger_limit <= outermost


def test_03_trailing_zeros_recover_a_stranger_and_numbers_of_ours_have_none(
    sandbox: Sandbox, venue: HyperliquidVenue, info: Info
) -> None:
    """The venue hashes the shortest text of a number: a payload signed with 80800.0 is somebody else's."""
    order = {"a": 3, "b": True, "p": "80800.0", "s": "0.010", "r": False, "t": IOC}
    named, nonce = set(), sandbox.venue.clock.host_ms()
    for later in range(2):
        action = {"type": "order", "orders": [order], "grouping": "na"}
        wallet = Account.from_key(SANDBOX_AGENT_PRIVATE_KEY)
        signature = sign_l1_action(wallet, action, None, nonce + later, None, False)
        body = {"action": action, "nonce": nonce + later, "signature": signature, "vaultAddress": None}
        answer = requests.post(f"{sandbox.venue_url}/exchange", json=body, timeout=5).json()
        assert answer["status"] == "err", answer
        assert "does not exist" in answer["response"]
        named.add(answer["response"])
    assert len(named) == 2, "another address at each call"
    made = entry(venue, "0.0100")
    assert venue.place(made).status is ActionStatus.FILLED
    assert info.user_state(ME)["assetPositions"][0]["position"]["szi"] == "0.01"


def test_04_a_reduce_only_size_is_floored_and_clamped_to_the_position(
    venue: HyperliquidVenue,
) -> None:
    """A size rounded up, or larger than what is left, turns a close into an order of the other side."""
    assert floor_size(D("0.019999999"), 5) == D("0.01999")
    assert floor_size(D("-0.019999999"), 5) == D("-0.01999"), "towards zero on both sides"
    assert floor_size(D("0.000009"), 5) == 0
    venue.place(entry(venue, "0.01"))
    close = venue.place(entry(venue, "-0.05", OrderPurpose.CLOSE))
    assert (close.status, close.filled_base) == (ActionStatus.FILLED, D("0.01"))
    assert venue.account().positions == ()
