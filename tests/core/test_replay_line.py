"""The line of a backtest's cycle gives back the records that it was made of, byte for byte."""

import json
import math
from dataclasses import replace
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl
import pytest
from desk import Desk
from test_cycle_replay import SCENES, second_cycle
from trader_samples import CYCLE_MS

from wonttrade_dagster.adapters import ledger_texts
from wonttrade_dagster.adapters.backtest_line import SEALED, SharedFacts, line_of, shared_of
from wonttrade_dagster.adapters.backtest_payloads import payloads_of, prior_cycle_ms, seals_of
from wonttrade_dagster.core.codec import encode
from wonttrade_dagster.core.cycle import STAGE_RECORDS
from wonttrade_dagster.core.model import (
    CycleSetting,
    IndicatorSnapshot,
    IndicatorWindow,
    LlmContext,
    MarketSnapshot,
    Stage,
    StageFailure,
)
from wonttrade_dagster.core.replay import StoredCycle
from wonttrade_dagster.core.seals import indicator_seal, is_sealed, market_seal


def shared() -> dict[str, object]:
    desk = Desk()
    return shared_of(desk.parts(), desk.market.assets(), desk.market.snapshot(CYCLE_MS))


def line(cycle: StoredCycle) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(
        line_of({stage: cycle.record(stage) for stage in Stage}, SharedFacts(shared()))
    )
    return made


def prior_json(cycle: StoredCycle) -> dict[str, object] | None:
    context = cycle.record(Stage.LLM_CONTEXTS)
    if not isinstance(context, LlmContext) or context.prior.decision is None:
        return None
    plain: dict[str, object] = json.loads(encode(context.prior.decision))
    return plain


@pytest.mark.parametrize("scene", SCENES)
def test_a_line_gives_back_every_record(scene: str) -> None:
    cycle = second_cycle(scene)
    body = line(cycle)
    again = payloads_of(body, shared(), cycle.cycle_ms, prior_json(cycle))
    kept = [stage for stage in Stage if stage not in SEALED or isinstance(cycle.record(stage), StageFailure)]
    assert {stage: again[stage] for stage in kept} == {stage: cycle.payloads[stage] for stage in kept}
    assert set(again) == set(kept)
    assert set(seals_of(body)) == set(SEALED) - set(kept)


def test_a_line_holds_neither_the_settings_nor_the_prompts_files_nor_the_account_twice() -> None:
    body = line(second_cycle("kept"))
    text = json.dumps(body["records"])
    assert "prompt_files" not in text
    assert "max_position_usd" not in text
    assert text.count('"account_value_usd"') == 2  # the account as it was seen, and the report's
    assert '"system"' not in json.dumps(body)
    assert '"open_orders"' not in text
    assert len(body["protection"]) == 2


def test_orders_that_changed_in_the_cycle_are_told_before_and_after() -> None:
    body = line(second_cycle("moved stop"))
    seen, done = (body["records"][stage.value] for stage in (Stage.ACCOUNT_SNAPSHOTS, Stage.EXECUTIONS))
    assert seen["open_orders"] != body["protection"]
    assert "open_orders" not in done["account"]
    assert "open_orders" not in json.dumps(body["records"]["execution_plans"])


def test_settings_that_are_not_those_of_the_first_line_stay_in_the_cycles_line() -> None:
    cycle = second_cycle("kept")
    context = cycle.record(Stage.LLM_CONTEXTS)
    other: CycleSetting = replace(context.setting, cycle_minutes=60)
    records = {stage: cycle.record(stage) for stage in Stage}
    records[Stage.LLM_CONTEXTS] = replace(context, setting=other)
    body = json.loads(line_of(records, SharedFacts(shared())))
    again = payloads_of(body, shared(), cycle.cycle_ms, prior_json(cycle))
    assert again[Stage.LLM_CONTEXTS] == encode(records[Stage.LLM_CONTEXTS], STAGE_RECORDS[Stage.LLM_CONTEXTS])


def test_the_prior_decision_is_named_by_its_cycle() -> None:
    cycle = second_cycle("kept")
    assert prior_cycle_ms(line(cycle)) == cycle.record(Stage.DECISIONS).prior_cycle_ms
    assert prior_cycle_ms({}) is None


def test_a_markets_seal_is_that_of_its_prices_and_its_last_candle() -> None:
    market: MarketSnapshot = second_cycle("kept").record(Stage.MARKET_SNAPSHOTS)
    btc, eth = market.markets
    shorter = replace(btc, intraday=replace(btc.intraday, frame=btc.intraday.frame.tail(100)))
    funded = replace(btc, funding_rate_hourly=0.5)
    assert market_seal(replace(market, markets=(shorter, eth))) == market_seal(market)
    assert market_seal(replace(market, markets=(funded, eth))) != market_seal(market)


def test_an_indicators_seal_is_that_of_every_number_and_name() -> None:
    cycle = second_cycle("kept")
    known: IndicatorSnapshot = cycle.record(Stage.INDICATORS)
    btc, eth = known.symbols
    seal = indicator_seal(known)

    def with_btc(frame: pl.DataFrame) -> bytes:
        window = IndicatorWindow.of(frame)
        return encode(replace(known, symbols=(replace(btc, long_term=window), eth)))

    frame = pl.DataFrame(btc.long_term.columns)
    nudged = frame.with_columns(pl.col("close").map_elements(lambda x: math.nextafter(x, 0), pl.Float64))
    without = frame.with_columns(pl.lit(None, pl.Float64).alias("ema_20"))
    assert is_sealed(Stage.INDICATORS, with_btc(frame), seal)
    for other in (nudged, without, frame.rename({"atr_3": "atr_4"}), frame.tail(9)):
        assert not is_sealed(Stage.INDICATORS, with_btc(other), seal)


def test_seals_of_another_kind_are_no_seals() -> None:
    body = line(second_cycle("kept"))
    for stage in SEALED:
        body["records"][stage.value] = {"sha256": "0" * 64}
    assert seals_of(body) == {}


# --- texts of the ledger ---------------------------------------------------------------------------


def test_a_prompts_files_leave_the_payload_and_come_back_byte_for_byte() -> None:
    payload = second_cycle("kept").payloads[Stage.LLM_CONTEXTS]
    with duckdb.connect() as connection:
        connection.execute(ledger_texts.DDL)
        folded = [ledger_texts.fold(connection, payload) for _ in range(2)]
        assert folded[0] == folded[1]
        assert len(folded[0]) < len(payload) - 5_000
        assert connection.execute("SELECT count(*) FROM texts").fetchall() == [(3,)]
        assert ledger_texts.unfold(connection, folded[0]) == payload
        connection.execute("DELETE FROM texts")
        assert ledger_texts.REFERENCE.encode() in ledger_texts.unfold(connection, folded[0])


@pytest.mark.parametrize(
    "payload",
    [
        b'{"prompt_files":[]}',
        b'{"prompt_files": [["a","b"]]}',
        b'{"prompt_files":[["a",1]]}',
        b'"text"',
        b"[1]",
    ],
)
def test_what_is_not_written_as_ours_stays_as_it_is(payload: bytes) -> None:
    with duckdb.connect() as connection:
        connection.execute(ledger_texts.DDL)
        assert ledger_texts.fold(connection, payload) == payload
        assert ledger_texts.unfold(connection, payload) == payload


def test_half_of_a_surrogate_pair_in_a_reply_is_written_and_read() -> None:
    cycle = second_cycle("kept")
    records = {stage: cycle.record(stage) for stage in Stage}
    record = records[Stage.DECISIONS]
    records[Stage.DECISIONS] = replace(record, reply=replace(record.reply, text='{"half": "\ud83d"}'))
    body = json.loads(line_of(records, SharedFacts(shared())))
    assert body["reply"]["text"] == '{"half": "\ud83d"}'


def test_a_number_that_is_none_is_refused() -> None:
    cycle = second_cycle("kept")
    records = {stage: cycle.record(stage) for stage in Stage}
    report = records[Stage.CYCLE_REPORTS]
    records[Stage.CYCLE_REPORTS] = replace(report, performance=replace(report.performance, sharpe=math.nan))
    with pytest.raises(ValueError, match="not JSON compliant"):
        line_of(records, SharedFacts(shared()))


def test_accounts_that_are_equal_and_spelled_differently_are_both_written() -> None:
    cycle = second_cycle("kept")
    records = {stage: cycle.record(stage) for stage in Stage}
    plan = records[Stage.EXECUTION_PLANS]
    account = replace(plan.account, margin_used_usd=plan.account.margin_used_usd + Decimal("0.000"))
    assert account == plan.account
    records[Stage.EXECUTION_PLANS] = replace(plan, account=account)
    body = json.loads(line_of(records, SharedFacts(shared())))
    again = payloads_of(body, shared(), cycle.cycle_ms, prior_json(cycle))
    kind = STAGE_RECORDS[Stage.EXECUTION_PLANS]
    assert again[Stage.EXECUTION_PLANS] == encode(records[Stage.EXECUTION_PLANS], kind)
    assert again[Stage.EXECUTION_PLANS] != cycle.payloads[Stage.EXECUTION_PLANS]


def test_lines_from_before_name_an_account_that_is_the_same() -> None:
    cycle = second_cycle("kept")
    body = line(cycle)
    assert "account" not in body["records"]["execution_plans"]
    body["records"]["execution_plans"]["account"] = body["records"]["executions"]["account"] = "same"
    again = payloads_of(body, shared(), cycle.cycle_ms, prior_json(cycle))
    assert again[Stage.EXECUTIONS] == cycle.payloads[Stage.EXECUTIONS]


@pytest.mark.parametrize("scene", SCENES)
def test_lines_from_before_tell_the_system_message_and_every_accounts_lists(scene: str) -> None:
    cycle = second_cycle(scene)
    body = line(cycle)
    told = {stage: json.loads(payload) for stage, payload in cycle.payloads.items()}
    for stage in (Stage.EXECUTION_PLANS, Stage.EXECUTIONS):
        body["records"][stage.value]["account"] = told[stage]["account"]
    body["records"]["account_snapshots"] = told[Stage.ACCOUNT_SNAPSHOTS]
    body["prompt"] = told[Stage.DECISIONS]["prompt"]
    again = payloads_of(body, shared() | {"system": "of another one"}, cycle.cycle_ms, prior_json(cycle))
    kept = [stage for stage in Stage if stage not in SEALED or isinstance(cycle.record(stage), StageFailure)]
    assert {stage: again[stage] for stage in kept} == {stage: cycle.payloads[stage] for stage in kept}
