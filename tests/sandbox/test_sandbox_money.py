"""The money identities of protocol §10.1 on the venue's own answers, at any time, whatever came before."""

import json
from collections.abc import Callable
from decimal import ROUND_DOWN, Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox_samples import Json

from wonttrade_dagster.core.model import Leg
from wonttrade_dagster.core.precision import PriceRounding, floor_size, round_price
from wonttrade_dagster.core.simulation.identities import check_identities
from wonttrade_dagster.core.simulation.records import LeverageSetting, OrderRequest, Tif, Trigger
from wonttrade_dagster.sandbox import info_user, treasury
from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS
from wonttrade_dagster.sandbox.assembly import make_venue
from wonttrade_dagster.sandbox.venue import LoopbackVenue

ME = SANDBOX_ACCOUNT_ADDRESS
OTHER = "0x" + "22" * 20
NOW_MS = 1_795_435_200_000
COINS = ("BTC", "ETH", "SOL", "HPOS")
CENT = Decimal("0.000001")
FINE = Decimal("1e-9")


def ask(venue: LoopbackVenue, kind: str, **more: Json) -> Json:
    """An answer as a client gets it: through JSON."""
    return json.loads(json.dumps(info_user.answer(venue, {"type": kind, "user": ME, **more})))


def numbers(row: dict[str, Any]) -> dict[str, Decimal]:
    return {key: Decimal(value) for key, value in row.items() if isinstance(value, str) and key != "coin"}


def assert_money_adds_up(venue: LoopbackVenue) -> None:
    """Every identity that protocol §10.1 lists, on what the venue prints."""
    state = ask(venue, "clearinghouseState")
    total, cross = numbers(state["marginSummary"]), numbers(state["crossMarginSummary"])
    rows = [row["position"] for row in state["assetPositions"]]
    signed = {row["coin"]: _signed_value(row) for row in rows}
    marks = {row["coin"]: signed[row["coin"]] / Decimal(row["szi"]) for row in rows}
    crossed = [row for row in rows if row["leverage"]["type"] == "cross"]
    isolated = [row for row in rows if row["leverage"]["type"] == "isolated"]

    assert total["accountValue"] == total["totalRawUsd"] + sum(signed.values())
    assert cross["accountValue"] == cross["totalRawUsd"] + sum(signed[row["coin"]] for row in crossed)
    assert total["totalNtlPos"] == sum(abs(value) for value in signed.values())
    raw = sum(Decimal(row["leverage"]["rawUsd"]) for row in isolated)
    assert abs(total["totalRawUsd"] - cross["totalRawUsd"] - raw) <= CENT
    margins = sum(Decimal(row["marginUsed"]) for row in isolated)
    assert abs(total["accountValue"] - cross["accountValue"] - margins) <= CENT
    assert abs(total["totalMarginUsed"] - cross["totalMarginUsed"] - margins) <= CENT

    for row in rows:
        _assert_position(row, signed[row["coin"]], marks[row["coin"]])
    used = sum((Decimal(row["marginUsed"]) for row in crossed), Decimal(0))
    tenth = sum((abs(signed[row["coin"]]) for row in crossed), Decimal(0)) / 10
    free = max(cross["accountValue"] - max(used, tenth), Decimal(0))
    assert abs(Decimal(state["withdrawable"]) - free) <= 3 * CENT
    maintenance = sum((abs(signed[row["coin"]]) / (2 * row["maxLeverage"]) for row in crossed), Decimal(0))
    assert abs(Decimal(state["crossMaintenanceMarginUsed"]) - maintenance) <= 3 * CENT
    _assert_history(venue, total["accountValue"], rows)


def _signed_value(row: dict[str, Any]) -> Decimal:
    value = Decimal(row["positionValue"])
    return value if Decimal(row["szi"]) > 0 else -value


def _assert_position(row: dict[str, Any], value: Decimal, mark: Decimal) -> None:
    size, leverage, used = Decimal(row["szi"]), row["leverage"]["value"], Decimal(row["marginUsed"])
    entry_margin = abs(size) * Decimal(row["entryPx"]) / leverage
    pnl = Decimal(row["unrealizedPnl"])
    rounding = abs(size) * Decimal("0.1") + CENT  # the printed entry price is rounded to the grid
    assert abs(pnl - size * (mark - Decimal(row["entryPx"]))) <= rounding
    assert (
        abs(Decimal(row["returnOnEquity"]) - pnl / entry_margin) <= Decimal("1e-4") + rounding / entry_margin
    )
    if row["leverage"]["type"] == "cross":
        assert abs(used - abs(value) / leverage) <= CENT
        return
    raw = Decimal(row["leverage"]["rawUsd"])
    assert abs(used - raw - value) <= CENT
    side = 1 if size > 0 else -1
    liquidation = -raw / (size * (1 - Decimal(1) / (2 * row["maxLeverage"]) * side))
    if row["liquidationPx"] is None:
        assert liquidation <= 0
    else:
        assert abs(Decimal(row["liquidationPx"]) - liquidation) <= FINE + CENT / abs(size)


def _assert_history(venue: LoopbackVenue, value: Decimal, rows: list[dict[str, Any]]) -> None:
    """Fills, funding and the ledger explain what the account is worth."""
    fills = ask(venue, "userFills")
    for fill in fills:
        rate = {True: "0.00045", False: "0.00015"}[fill["crossed"]]
        fee = (Decimal(fill["px"]) * Decimal(fill["sz"]) * Decimal(rate)).quantize(CENT, ROUND_DOWN)
        assert Decimal(fill["fee"]) in {fee, Decimal(0)}
        assert fee == Decimal(fill["fee"]) or fill["dir"].startswith("Liquidated")
    paid_in = Decimal(0)
    for row in ask(venue, "userNonFundingLedgerUpdates", startTime=0):
        delta = row["delta"]
        amount = Decimal(delta.get("usdc", 0))
        match delta["type"]:
            case "deposit":
                paid_in += amount
            case "accountClassTransfer":
                paid_in += amount if delta["toPerp"] else -amount
            case "internalTransfer":
                paid_in -= amount
            case "withdraw":
                paid_in -= amount + Decimal(delta["fee"])
    earned = sum((Decimal(fill["closedPnl"]) - Decimal(fill["fee"]) for fill in fills), Decimal(0))
    funding = sum(
        (Decimal(row["delta"]["usdc"]) for row in ask(venue, "userFunding", startTime=0)), Decimal(0)
    )
    state = venue.account(ME).state
    open_pnl = sum(
        (p.size_base * (state.marks[p.symbol] - p.entry_px) for p in state.positions.values()), Decimal(0)
    )
    assert abs(value - (paid_in + earned + funding + open_pnl)) <= CENT * (len(fills) + 3)
    held = {row["coin"]: Decimal(row["szi"]) for row in rows}
    for coin in COINS:
        mine = [fill for fill in fills if fill["coin"] == coin]
        bought = sum((Decimal(f["sz"]) * (1 if f["side"] == "B" else -1) for f in mine), Decimal(0))
        assert bought == held.get(coin, 0)


Step = Callable[[LoopbackVenue], object]
coins = st.sampled_from(COINS)
usd = st.one_of(st.integers(5, 40_000), st.integers(60_000, 190_000))
OFFSETS = st.sampled_from([0.05, 0.02, 0.002, -0.001, -0.03])
"""How far beyond the mark a limit lies; below zero it does not cross."""


@st.composite
def an_order(draw: st.DrawFn) -> Step:
    coin, is_buy, amount = draw(coins), draw(st.booleans()), draw(usd)
    tif, off = draw(st.sampled_from([Tif.IOC, Tif.IOC, Tif.GTC, Tif.ALO])), draw(OFFSETS)
    reduce_only = draw(st.sampled_from([False, False, False, True]))
    leg = draw(st.sampled_from([None, None, None, Leg.STOP_LOSS, Leg.TAKE_PROFIT]))

    def place(venue: LoopbackVenue) -> object:
        mark, spec = venue.market.mark_px(coin), venue.rules.assets[coin]
        side = 1 if is_buy else -1
        limit = round_price(mark * (1 + side * Decimal(str(off))), spec.size_decimals, PriceRounding.NEAREST)
        size = (Decimal(amount) / mark).quantize(Decimal(1).scaleb(-spec.size_decimals))
        trigger = None if leg is None else Trigger(limit, is_market=bool(amount % 2), leg=leg)
        return venue.place(
            ME,
            OrderRequest(
                coin, is_buy, size, limit, tif, reduce_only=reduce_only or leg is not None, trigger=trigger
            ),
        )

    return place


@st.composite
def an_entry(draw: st.DrawFn) -> Step:
    """A position of some leverage and mode, so that the other steps have something to happen to."""
    coin, is_buy, leverage = draw(coins), draw(st.booleans()), draw(st.integers(2, 40))
    is_cross, margin = draw(st.booleans()), draw(st.integers(100, 4_000))

    def enter(venue: LoopbackVenue) -> object:
        spec, mark = venue.rules.assets[coin], venue.market.mark_px(coin)
        setting = LeverageSetting(min(leverage, spec.max_leverage), is_cross and not spec.only_isolated)
        venue.set_leverage(ME, coin, setting)
        limit = round_price(
            mark * Decimal("1.05" if is_buy else "0.95"), spec.size_decimals, PriceRounding.NEAREST
        )
        size = floor_size(margin * setting.leverage / mark, spec.size_decimals)
        return venue.place(ME, OrderRequest(coin, is_buy, size, limit, Tif.IOC))

    return enter


@st.composite
def another_step(draw: st.DrawFn) -> Step:
    coin, amount = draw(coins), Decimal(draw(usd)) / 7
    factor = Decimal(str(draw(st.sampled_from([0.8, 0.97, 0.999, 1.002, 1.04, 1.3]))))
    setting = LeverageSetting(draw(st.integers(1, 42)), draw(st.booleans()))
    cents = amount.quantize(CENT)
    steps: list[Step] = [
        lambda venue: venue.set_price(coin, venue.market.mid_px(coin) * factor, 60_000),
        lambda venue: venue.set_leverage(ME, coin, setting),
        lambda venue: venue.move_margin(ME, coin, cents if setting.is_cross else -cents),
        lambda venue: venue.advance(3_600_000 * draw_hours),
        lambda venue: treasury.transfer(venue, ME, cents, to_perp=setting.is_cross),
        lambda venue: treasury.send(venue, ME, OTHER, cents),
        lambda venue: treasury.withdraw_usdc(venue, ME, cents, 1),
        lambda venue: [venue.cancel(ME, oid) for oid in list(venue.account(ME).state.orders)[:1]],
    ]
    draw_hours = draw(st.integers(1, 3))
    return draw(st.sampled_from(steps))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(an_entry(), min_size=1, max_size=3),
    st.lists(st.one_of(an_order(), another_step(), another_step()), max_size=10),
)
def test_the_identities_hold_after_every_step_of_any_sequence(entries: list[Step], steps: list[Step]) -> None:
    venue = make_venue(3, lambda: NOW_MS)
    for step in (*entries, *steps):
        step(venue)
        check_identities(venue.account(ME).state)
        assert_money_adds_up(venue)


@pytest.mark.parametrize("is_cross", [True, False])
def test_the_identities_hold_through_a_liquidation_by_takeover(is_cross: bool) -> None:
    venue = make_venue(3, lambda: NOW_MS)
    mark = venue.market.mark_px("ETH")
    assert venue.set_leverage(ME, "ETH", LeverageSetting(25, is_cross)).ok
    limit = round_price(mark * Decimal("1.05"), 4, PriceRounding.UP)
    size = (Decimal(150_000) / mark).quantize(Decimal("0.0001"))
    assert venue.place(ME, OrderRequest("ETH", True, size, limit, Tif.IOC)).filled_base == size
    venue.set_price("ETH", (mark * Decimal("0.9")).quantize(Decimal(1)), 60_000)
    assert_money_adds_up(venue)
    taken = next(fill for fill in ask(venue, "userFills") if "liquidation" in fill)
    assert taken["liquidation"]["method"] == "backstop"
    assert taken["dir"] == f"Liquidated {'Cross' if is_cross else 'Isolated'} Long"
    assert len(taken["px"].partition(".")[2]) <= 8
    assert ask(venue, "clearinghouseState")["assetPositions"] == []
