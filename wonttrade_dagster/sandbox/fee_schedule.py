"""``userFees``: the venue's published fee schedule and one account's place in it (protocol §10.4).

Belongs here: tiers and discounts as the venue prints them. Does not belong here: charging fees
(``core.simulation.fills``). Every account of the loopback venue pays tier 0 without a discount.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from wonttrade_dagster.core.simulation.records import VenueRules
from wonttrade_dagster.sandbox.account_log import Account
from wonttrade_dagster.sandbox.numbers import text
from wonttrade_dagster.sandbox.walk import DAY_MS

DAYS = 15
SPOT_TAKER, SPOT_MAKER = "0.0007", "0.0004"
_VIP = (
    ("5000000.0", "0.0004", "0.00012", "0.0006", "0.0003"),
    ("25000000.0", "0.00035", "0.00008", "0.0005", "0.0002"),
    ("100000000.0", "0.0003", "0.00004", "0.0004", "0.0001"),
    ("500000000.0", "0.00028", "0.0", "0.00035", "0.0"),
    ("2000000000.0", "0.00026", "0.0", "0.0003", "0.0"),
    ("7000000000.0", "0.00024", "0.0", "0.00025", "0.0"),
)
_MAKERS = (("0.005", "-0.00001"), ("0.015", "-0.00002"), ("0.03", "-0.00003"))
_STAKING = (
    ("0.0", "0.0"),
    ("0.0001", "0.05"),
    ("0.001", "0.1"),
    ("0.01", "0.15"),
    ("0.1", "0.2"),
    ("1.0", "0.3"),
    ("5.0", "0.4"),
)


def user_fees(account: Account, rules: VenueRules, now_ms: int) -> dict[str, Any]:
    """The answer to ``userFees``."""
    taker, maker = text(rules.taker_fee_rate), text(rules.maker_fee_rate)
    return {
        "dailyUserVlm": _daily_volumes(account, now_ms),
        "feeSchedule": _schedule(taker, maker),
        "userCrossRate": taker,
        "userAddRate": maker,
        "userSpotCrossRate": SPOT_TAKER,
        "userSpotAddRate": SPOT_MAKER,
        "activeReferralDiscount": "0.0",
        "trial": None,
        "feeTrialReward": "0.0",
        "nextTrialAvailableTimestamp": None,
        "stakingLink": None,
        "activeStakingDiscount": {"bpsOfMaxSupply": "0.0", "discount": "0.0"},
    }


def _schedule(taker: str, maker: str) -> dict[str, Any]:
    names = ("ntlCutoff", "cross", "add", "spotCross", "spotAdd")
    tiers = {
        "vip": [dict(zip(names, row, strict=True)) for row in _VIP],
        "mm": [{"makerFractionCutoff": cutoff, "add": rate} for cutoff, rate in _MAKERS],
    }
    staking = [{"bpsOfMaxSupply": supply, "discount": discount} for supply, discount in _STAKING]
    return {
        "cross": taker,
        "add": maker,
        "spotCross": SPOT_TAKER,
        "spotAdd": SPOT_MAKER,
        "tiers": tiers,
        "referralDiscount": "0.04",
        "stakingDiscountTiers": staking,
    }


def _daily_volumes(account: Account, now_ms: int) -> list[dict[str, str]]:
    today = now_ms // DAY_MS
    taken, made = _volumes(account, today, is_taker=True), _volumes(account, today, is_taker=False)
    return [
        {
            "date": f"{datetime.fromtimestamp(day * DAY_MS / 1000, tz=UTC):%Y-%m-%d}",
            "userCross": text(taken.get(day, Decimal(0))),
            "userAdd": text(made.get(day, Decimal(0))),
            "exchange": "2852367.077",
        }
        for day in range(today - DAYS + 1, today + 1)
    ]


def _volumes(account: Account, today: int, *, is_taker: bool) -> Mapping[int, Decimal]:
    found: dict[int, Decimal] = {}
    for execution in reversed(account.executions):
        day = execution.time_ms // DAY_MS
        if day <= today - DAYS:
            break
        if execution.crossed is is_taker:
            found[day] = found.get(day, Decimal(0)) + execution.px * execution.size_base
    return found
