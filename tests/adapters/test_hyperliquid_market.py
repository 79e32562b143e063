"""Market snapshots from the loopback venue: whole windows of closed candles, or a refusal by name."""

from itertools import pairwise

import pytest
import requests
from venue_samples import CLOCK, SYMBOLS, fault, market_data

from wonttrade_dagster.core.candles import interval_ms
from wonttrade_dagster.core.errors import VenueAnswerError
from wonttrade_dagster.sandbox.server import Sandbox


def test_a_snapshot_holds_the_last_closed_candles_of_every_symbol_and_window(sandbox: Sandbox) -> None:
    cycle_ms = CLOCK.now_ms()
    snapshot = market_data(sandbox).snapshot(cycle_ms)
    assert [market.symbol for market in snapshot.markets] == SYMBOLS
    for market in snapshot.markets:
        assert market.mark_px is not None
        assert market.oracle_px is not None
        for series in (market.intraday, market.long_term):
            opens = series.frame["open_time_ms"].to_list()
            length_ms = interval_ms(series.interval)
            assert len(opens) == 300
            assert opens[-1] == cycle_ms // length_ms * length_ms - length_ms
            assert {after - before for before, after in pairwise(opens)} == {length_ms}


def test_nothing_in_a_snapshot_of_the_past_closed_after_it(sandbox: Sandbox) -> None:
    cycle_ms = CLOCK.now_ms() // 300_000 * 300_000 - 3_600_000
    for market in market_data(sandbox).snapshot(cycle_ms).markets:
        assert market.intraday.frame["open_time_ms"][-1] == cycle_ms - 300_000


def test_a_snapshot_of_two_symbols_takes_at_most_eight_requests(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[object] = []
    send = requests.Session.send

    def counted(self: requests.Session, request: requests.PreparedRequest, **options: object) -> object:
        sent.append(request.body)
        return send(self, request, **options)

    monkeypatch.setattr(requests.Session, "send", counted)
    market_data(sandbox, history_bars=1000).snapshot(CLOCK.now_ms())
    assert len(sent) <= 8


def test_a_gap_in_the_candles_is_refused_by_name(sandbox: Sandbox) -> None:
    candle = {
        "T": 0,
        "s": "BTC",
        "i": "5m",
        "o": "1.0",
        "c": "1.0",
        "h": "1.0",
        "l": "1.0",
        "v": "0.0",
        "n": 0,
    }
    last_ms = CLOCK.now_ms() // 300_000 * 300_000 - 300_000
    body = [candle | {"t": last_ms - 600_000}, candle | {"t": last_ms}]
    fault(sandbox, "info:candleSnapshot", "reply", times=4, body=body)
    with pytest.raises(VenueAnswerError, match="5m candles of BTC have a gap"):
        market_data(sandbox).snapshot(last_ms + 300_000)


def test_candles_that_end_early_are_refused_by_name(sandbox: Sandbox) -> None:
    fault(sandbox, "info:candleSnapshot", "reply", times=4, body=[])
    with pytest.raises(VenueAnswerError, match="5m candles of BTC are missing"):
        market_data(sandbox).snapshot(CLOCK.now_ms())


def test_a_candle_with_a_price_of_zero_is_refused(sandbox: Sandbox) -> None:
    last_ms = CLOCK.now_ms() // 300_000 * 300_000 - 300_000
    candle = {"t": last_ms, "o": "1.0", "c": "0.0", "h": "1.0", "l": "0.0", "v": "0.0"}
    fault(sandbox, "info:candleSnapshot", "reply", times=4, body=[candle])
    with pytest.raises(VenueAnswerError, match="price above zero"):
        market_data(sandbox).snapshot(last_ms + 300_000)
