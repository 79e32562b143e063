"""What each stage of a cycle is called and explained as, for both families.

Belongs here: descriptions, kinds, groups and owners of the stage assets.
Does not belong here: their bodies, their edges (``core.cycle.EDGES``).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg

from wonttrade_dagster.core.cycle import EDGES
from wonttrade_dagster.core.model import Stage

OWNERS = ("team:wonttrade",)


@dataclass(frozen=True, slots=True)
class StageText:
    """How a stage presents itself in the UI."""

    description: str
    kinds: frozenset[str]


STAGE_TEXTS: Mapping[Stage, StageText] = {
    Stage.MARKET_SNAPSHOTS: StageText(
        "What was known of every tracked symbol at the cycle time: prices, funding, open interest and "
        "candles that **closed** at or before it.",
        frozenset({"hyperliquid", "polars"}),
    ),
    Stage.ACCOUNT_SNAPSHOTS: StageText(
        "The account as the venue shows it: value, free margin, positions, open and protection orders.",
        frozenset({"hyperliquid"}),
    ),
    Stage.INDICATORS: StageText(
        "EMA, MACD, RSI and ATR of the intraday and the long window, with TA-Lib's conventions.",
        frozenset({"polars"}),
    ),
    Stage.LLM_CONTEXTS: StageText(
        "The prompt, rendered from the versioned template: market, account, prior decision, limits, alerts.",
        frozenset({"jinja"}),
    ),
    Stage.DECISIONS: StageText(
        "The model's reply and its judgement: a decision taken whole, or a refusal with its named reason.",
        frozenset({"openai"}),
    ),
    Stage.EXECUTION_PLANS: StageText(
        "The smallest list of orders from what the account holds now to the targets; protection always.",
        frozenset({"python"}),
    ),
    Stage.EXECUTIONS: StageText(
        "What the venue answered to each order, the fills, and what stands on the venue afterwards.",
        frozenset({"hyperliquid"}),
    ),
    Stage.CYCLE_REPORTS: StageText(
        "How the cycle ended: applied, refused or failed, and why; account value, alerts, running totals.",
        frozenset({"duckdb"}),
    ),
}


def stage_key(family: str, stage: Stage) -> dg.AssetKey:
    """The asset key of a stage in a family."""
    return dg.AssetKey([family, stage.value])


def upstream_keys(family: str, stage: Stage) -> list[dg.AssetKey]:
    """Keys of the stages that a stage reads."""
    return [stage_key(family, upstream) for upstream in EDGES[stage]]
