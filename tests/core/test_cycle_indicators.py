"""A cycle whose prompt shows indicators of other lengths, and further ones: decided, recorded, replayed."""

import json
from dataclasses import dataclass, replace

from desk import LONG_BTC, Desk
from fakes import ScriptedModel
from pydantic_core import from_json, to_json
from trader_samples import LIMITS, PROMPTS, RULES

from wonttrade_dagster.adapters.prompts import load_prompt, template_of
from wonttrade_dagster.core.codec import decode, encode
from wonttrade_dagster.core.context import ContextBuilder
from wonttrade_dagster.core.cycle import STAGE_RECORDS
from wonttrade_dagster.core.cycle_parts import CycleParts
from wonttrade_dagster.core.indicators import IndicatorEngine
from wonttrade_dagster.core.model import (
    USUAL_INDICATORS,
    CycleSetting,
    IndicatorSetting,
    IndicatorSnapshot,
    LlmContext,
    Stage,
)
from wonttrade_dagster.core.replay import ReplayVerdict, StoredCycle, replay_cycle

SHIPPED = load_prompt(PROMPTS, "trader/v1")
SHOWS_MORE = "{{ facts.labels.vwap }} {{ facts.symbols[0].intraday.latest.vwap }}\n" + SHIPPED.user_source
FILES = [(name, SHOWS_MORE if name == "user.md.j2" else text) for name, text in SHIPPED.files]
TEMPLATE = template_of("mine/v1", FILES)
LENGTHS = replace(USUAL_INDICATORS, ema_fast_bars=34, ema_slow_bars=89, vwap_bars=48)


@dataclass
class OtherDesk(Desk):
    """The usual desk with another prompt and other lengths."""

    lengths: IndicatorSetting = LENGTHS

    def parts(self) -> CycleParts:
        shown = TEMPLATE.indicators(self.lengths)
        return replace(
            super().parts(),
            indicators=IndicatorEngine(setting=shown).compute,
            context_builder=ContextBuilder(TEMPLATE, LIMITS, RULES, 5, shown),
        )


def payloads(desk: Desk) -> dict[Stage, bytes]:
    return {stage: encode(record, STAGE_RECORDS[stage]) for stage, record in desk.records.records.items()}


def verdicts(stored: StoredCycle) -> dict[Stage, ReplayVerdict]:
    return {check.stage: check.verdict for check in replay_cycle(stored)}


def stored(desk: Desk, found: dict[Stage, bytes]) -> StoredCycle:
    return StoredCycle(desk.records.cycle_ms, found, template=template_of("mine/v1", FILES))


def test_a_cycle_with_other_lengths_is_recorded_with_them_and_replays_to_the_same_bytes() -> None:
    desk = OtherDesk(ScriptedModel(LONG_BTC))
    assert desk.cycle().outcome == "applied"
    context, indicators = desk.stage(Stage.LLM_CONTEXTS), desk.stage(Stage.INDICATORS)
    assert isinstance(context, LlmContext)
    assert isinstance(indicators, IndicatorSnapshot)
    assert context.setting is not None
    assert context.setting.indicators == replace(LENGTHS, further=("vwap",))
    assert {"ema_34", "ema_89", "vwap_48"} <= set(indicators.of("BTC").intraday.columns)
    assert "EMA34" in context.prompt.user
    assert context.prompt.user.startswith("VWAP48 ")
    assert set(verdicts(stored(desk, payloads(desk))).values()) == {ReplayVerdict.SAME}


def test_a_replay_with_lengths_that_were_changed_in_the_record_differs() -> None:
    desk = OtherDesk(ScriptedModel(LONG_BTC))
    desk.cycle()
    found = payloads(desk)
    body = from_json(found[Stage.LLM_CONTEXTS])
    body["setting"]["indicators"]["ema_slow_bars"] = 90
    found[Stage.LLM_CONTEXTS] = to_json(body)
    assert verdicts(stored(desk, found))[Stage.INDICATORS] is ReplayVerdict.DIFFERS


def test_a_record_from_before_lengths_could_be_configured_replays() -> None:
    desk = Desk(ScriptedModel(LONG_BTC))
    desk.cycle()
    found = payloads(desk)
    for stage, place in ((Stage.LLM_CONTEXTS, ()), (Stage.EXECUTION_PLANS, ("basis",))):
        body = from_json(found[stage])
        holder = body
        for name in place:
            holder = holder[name]
        del holder["setting"]["indicators"]
        found[stage] = to_json(body)
        assert b"ema_fast_bars" not in found[stage]
    old = StoredCycle(desk.records.cycle_ms, found, template=SHIPPED)
    assert set(verdicts(old).values()) == {ReplayVerdict.SAME}


def test_a_setting_without_lengths_is_read_as_the_usual_ones() -> None:
    desk = Desk(ScriptedModel(LONG_BTC))
    body = from_json(encode(desk.parts().setting))
    del body["indicators"]
    assert decode(CycleSetting, to_json(body)).indicators == USUAL_INDICATORS


def test_a_condition_on_a_length_that_is_gone_is_not_known_and_the_cycle_goes_on() -> None:
    condition = {"symbol": "BTC", "series": "ema_20", "operator": ">", "value": 1, "interval": "5m"}
    watched = json.dumps(json.loads(LONG_BTC) | {"conditions": [condition]})
    desk = OtherDesk(ScriptedModel(watched, LONG_BTC, LONG_BTC), lengths=USUAL_INDICATORS)
    desk.cycle(0)
    desk.cycle(1)
    assert fired_in(desk) == (1,)
    desk = OtherDesk(ScriptedModel(watched, LONG_BTC), lengths=USUAL_INDICATORS)
    desk.cycle(0)
    desk.lengths = LENGTHS
    desk.cycle(1)
    assert fired_in(desk) == ()


def fired_in(desk: Desk) -> tuple[int, ...]:
    context = desk.stage(Stage.LLM_CONTEXTS)
    assert isinstance(context, LlmContext)
    return context.fired
