"""The quick ``replace`` of the simulated exchange against the standard library's."""

import dataclasses
from decimal import Decimal

import pytest

from wonttrade_dagster.core.changed import replace
from wonttrade_dagster.core.simulation import ExchangeState, PerpPosition, Slippage, VenueRules

STATE = ExchangeState(5, cross_raw_usd=Decimal(7), marks={"BTC": Decimal(84_000)})
POSITION = PerpPosition("BTC", Decimal(1), Decimal(84_000))


def test_every_field_can_be_changed_alone_as_the_standard_library_does() -> None:
    for record in (STATE, POSITION, VenueRules({})):
        for field in dataclasses.fields(record):
            changes = {field.name: Decimal(3)}
            assert replace(record, **changes) == dataclasses.replace(record, **changes), field.name


def test_the_record_itself_stays_as_it_was() -> None:
    changed = replace(STATE, time_ms=6, next_oid=9)
    assert (changed.time_ms, changed.next_oid, changed.marks) == (6, 9, STATE.marks)
    assert (STATE.time_ms, STATE.next_oid) == (5, 1)


def test_a_field_that_is_not_there_is_refused() -> None:
    with pytest.raises(TypeError, match="no field 'time'"):
        replace(STATE, time=6)


def test_a_record_that_judges_its_numbers_judges_the_new_ones_too() -> None:
    with pytest.raises(ValueError, match="must be 0 or more"):
        replace(Slippage(), bps=Decimal(-1))
