"""Orders of ours that this journal did not write: somebody else trades the account."""

from collections.abc import Sequence
from dataclasses import replace

from desk import BOTH_LEGS, FLAT_NOW, KEPT, D, Desk
from fakes import BreakableAudit, ScriptedModel

from wonttrade_dagster.core.model import Leg, OpenOrder


class ProvingAudit(BreakableAudit):
    """A journal that proves the orders of those ids to be somebody else's."""

    def __init__(self, *oids: int) -> None:
        super().__init__()
        self.oids = oids
        self.asked: list[str | None] = []

    def strangers(self, orders: Sequence[OpenOrder]) -> tuple[OpenOrder, ...]:
        self._require(self.can_be_read)
        self.asked += [order.cloid for order in orders]
        return tuple(order for order in orders if order.oid in self.oids)


def test_a_second_machine_stops_exposure_and_protection_is_put_back_all_the_same() -> None:
    desk = Desk()
    desk.cycle()
    (take_profit,) = [order for order in desk.venue.orders if order.leg is Leg.TAKE_PROFIT]
    desk.venue.orders = [take_profit]
    desk.model = ScriptedModel(FLAT_NOW)
    desk.audit = replace_audit(desk.audit, take_profit.oid)
    report = desk.cycle(1)
    assert (report.outcome, report.reason) == ("refused", "second_machine")
    assert f"BTC order {take_profit.oid}" in report.detail
    assert any(alert.startswith("A SECOND MACHINE TRADES THIS ACCOUNT") for alert in report.alerts)
    assert desk.venue.positions["BTC"].size_base == D("0.5")
    assert desk.standing() == {"BTC": BOTH_LEGS}


def test_orders_of_other_programs_are_not_asked_about() -> None:
    desk = Desk()
    desk.cycle()
    foreign = replace(desk.venue.orders[0], oid=999, cloid="0x" + "ff" * 16)
    manual = replace(desk.venue.orders[0], oid=998, cloid=None)
    desk.venue.orders += [foreign, manual]
    desk.model = ScriptedModel(KEPT)
    desk.audit = audit = replace_audit(desk.audit, 998, 999)
    report = desk.cycle(1)
    assert report.outcome == "applied"
    assert audit.asked
    assert not {foreign.cloid, None} & set(audit.asked)


def test_a_refused_decision_keeps_its_reason_and_the_second_machine_its_alert() -> None:
    desk = Desk()
    desk.cycle()
    desk.model = ScriptedModel("no JSON")
    desk.audit = replace_audit(desk.audit, *(order.oid for order in desk.venue.orders))
    report = desk.cycle(1)
    assert (report.outcome, report.reason) == ("refused", "invalid_json")
    assert any("SECOND MACHINE" in alert for alert in report.alerts)


def replace_audit(before: BreakableAudit, *oids: int) -> ProvingAudit:
    audit = ProvingAudit(*oids)
    audit.newest = before.newest
    return audit
