"""A position that changes while the model thinks: a decision that did not know of it rebuilds nothing."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from desk import BOTH_LEGS, FLAT_NOW, KEPT, LONG_BTC, D, Desk
from fakes import ScriptedModel
from paper_venue import position

from wonttrade_dagster.core.model import CycleReport, ModelReply, Prompt


class Thinking(ScriptedModel):
    """Something happens on the venue while it answers its second prompt."""

    def __init__(self, meanwhile: Callable[[], None], *script: str) -> None:
        super().__init__(LONG_BTC, *script)
        self.meanwhile = meanwhile

    def complete(self, prompt: Prompt, schema: Mapping[str, Any], deadline_ms: int) -> ModelReply:
        reply = super().complete(prompt, schema, deadline_ms)
        if len(self.prompts) == 2:
            self.meanwhile()
        return reply


def second_cycle(desk: Desk, reply: str, size_now: str) -> CycleReport:
    """Long 0.5 BTC under both legs; ``size_now`` of it is left when the plan is made."""

    def meanwhile() -> None:
        desk.venue.positions.pop("BTC")
        if D(size_now):
            desk.venue.positions["BTC"] = position("BTC", D(size_now))
        else:
            desk.venue.orders.clear()  # the venue cancels the other leg itself

    desk.model = Thinking(meanwhile, reply)
    desk.cycle(0)
    desk.venue.log.clear()
    return desk.cycle(1)


def test_a_position_that_was_stopped_out_while_the_model_thought_is_not_opened_again() -> None:
    desk = Desk()
    report = second_cycle(desk, KEPT, "0")
    assert (report.outcome, report.reason) == ("refused", "account_changed")
    assert report.detail == (
        "BTC was 0.5 when the decision was judged and is 0 now: a target of 0.5 would add to it"
    )
    assert (desk.venue.log, desk.venue.positions) == ([], {})


def test_what_a_stop_left_is_not_filled_up_again_and_keeps_its_protection() -> None:
    desk = Desk()
    report = second_cycle(desk, KEPT, "0.2")
    assert (report.outcome, report.reason) == ("refused", "account_changed")
    assert desk.venue.positions["BTC"].size_base == D("0.2")
    assert desk.standing() == {"BTC": BOTH_LEGS}


def test_a_position_of_the_other_side_is_not_flipped_by_a_decision_that_did_not_know_it() -> None:
    desk = Desk()
    report = second_cycle(desk, KEPT, "-0.1")
    assert (report.outcome, report.reason) == ("refused", "account_changed")
    assert desk.venue.positions["BTC"].size_base == D("-0.1")


@pytest.mark.parametrize(("reply", "size_now"), [(FLAT_NOW, "0.2"), (FLAT_NOW, "0"), (KEPT, "0.7")])
def test_a_decision_that_adds_nothing_to_a_changed_position_is_applied(reply: str, size_now: str) -> None:
    desk = Desk()
    report = second_cycle(desk, reply, size_now)
    assert report.outcome == "applied"
    held = desk.venue.positions.get("BTC")
    assert (held.size_base if held else D(0)) == (D("0.5") if reply == KEPT else D(0))
