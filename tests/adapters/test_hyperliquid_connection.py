"""How questions travel: the addresses asked, what stays secret, what is tried again and what is given up."""

import json
import time
from pathlib import Path

import pytest
from venue_clients import market_data_at
from venue_stub import ADDRESS, FILLED, META, ORDER, FrozenClock, Stub, connection, never, scripted, venue

from wonttrade_dagster.adapters.hyperliquid import HyperliquidVenue
from wonttrade_dagster.adapters.hyperliquid.connection import travel
from wonttrade_dagster.core.errors import (
    ConfigurationError,
    VenueAnswerError,
    VenueRefusedError,
    VenueUnavailableError,
)
from wonttrade_dagster.core.model import ActionStatus

# --- addresses and secrets -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://api.hyperliquid.xyz/",
        "https://API.hyperliquid.xyz",
        "http://api.hyperliquid.xyz",
        "https://api.hyperliquid.xyz:443",
        "https://api.hyperliquid.xyz/info",
        "http://127.0.0.1:1/",
        "127.0.0.1:1",
        "ftp://127.0.0.1",
        "",
    ],
)
def test_an_address_that_would_sign_for_the_wrong_network_or_ask_a_wrong_path_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"address|mainnet"):
        connection(url)


@pytest.mark.parametrize(
    "url", ["https://api.hyperliquid.xyz", "https://api.hyperliquid-testnet.xyz", "http://127.0.0.1:3001"]
)
def test_the_right_spellings_are_taken_without_a_request(url: str) -> None:
    assert connection(url).base_url == url


@pytest.mark.parametrize("key", ["", "0x12", "0x" + "zz" * 32, "11" * 33])
def test_a_key_of_another_form_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        venue_with_key(key)
    assert not key or key not in str(refused.value)


def venue_with_key(key: str) -> HyperliquidVenue:
    return HyperliquidVenue(
        base_url="http://127.0.0.1:1",
        account_address=ADDRESS,
        agent_private_key=key,
        timeout_seconds=1,
        symbols=[],
        clock=FrozenClock(),
        read_attempts=1,
    )


def test_no_representation_shows_the_key(stub: Stub) -> None:
    scripted(stub, order=FILLED, orderStatus={"status": "unknownOid"})
    made = venue(stub)
    made.place(ORDER)
    shown = repr(made) + repr(vars(made)) + repr(vars(made._signer)) + str(made._signer._exchange.wallet)
    assert "11" * 8 not in shown


def test_the_environment_and_netrc_do_not_reach_the_sdk(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login canary password canary\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    scripted(stub, order=FILLED, orderStatus={"status": "unknownOid"})
    assert venue(stub).place(ORDER).status is ActionStatus.FILLED
    assert all("Authorization" not in headers for headers in stub.headers)


def test_a_redirect_is_not_followed(stub: Stub) -> None:
    stub.answer = lambda _: (307, "{}")
    with pytest.raises(VenueUnavailableError, match="TooManyRedirects"):
        connection(stub.url).assets()


# --- reads ---------------------------------------------------------------------------------------


def test_construction_asks_the_venue_nothing_and_meta_is_asked_once(stub: Stub) -> None:
    scripted(stub)
    made = connection(stub.url)
    assert stub.bodies == []
    assert made.assets() == made.assets()
    assert stub.types() == ["meta"]


@pytest.mark.parametrize("broken", [(502, "<html>"), (429, "null"), None, "<html>502</html>"])
def test_a_read_is_tried_again_with_growing_pauses_until_the_attempts_are_used_up(
    stub: Stub, broken: object
) -> None:
    clock = FrozenClock()
    scripted(stub, meta=broken)
    with pytest.raises((VenueUnavailableError, VenueAnswerError)):
        connection(stub.url, attempts=4, clock=clock).assets()
    assert len(stub.bodies) == 4
    assert len(clock.slept) == 3
    assert clock.slept[-1] > clock.slept[0] >= 0.25


def test_a_read_that_succeeds_at_last_is_an_answer(stub: Stub) -> None:
    answers = iter([(500, "null"), None, (200, json.dumps(META))])
    stub.answer = lambda _: next(answers)
    assert list(connection(stub.url, attempts=3).assets()) == ["BTC"]


def test_a_read_that_the_venue_refuses_is_not_tried_again(stub: Stub) -> None:
    scripted(stub, meta=(422, "Failed to deserialize the JSON body into the target type"))
    with pytest.raises(VenueRefusedError, match=r"HTTP 422.*Failed to deserialize"):
        connection(stub.url, attempts=3).assets()
    assert len(stub.bodies) == 1


@pytest.mark.parametrize("text", ['{"a": 1}', '"text"', "[]", "7", '{"code": 1}'])
def test_a_4xx_whose_form_the_sdk_cannot_read_is_a_named_error(stub: Stub, text: str) -> None:
    scripted(stub, meta=(400, text))
    with pytest.raises(VenueAnswerError, match="cannot read"):
        connection(stub.url).assets()


@pytest.mark.parametrize("text", ["<html>", "", "{", "[" * 100_000, "null", "[]", "7", '{"universe": 3}'])
def test_an_answer_that_is_not_meta_is_a_named_error(stub: Stub, text: str) -> None:
    scripted(stub, meta=text)
    with pytest.raises(VenueAnswerError):
        connection(stub.url).assets()


def test_a_server_that_drips_its_answer_does_not_outlive_the_time_limit(stub: Stub) -> None:
    scripted(stub)
    stub.drip_seconds = 0.05
    before = time.monotonic()
    with pytest.raises(VenueUnavailableError, match="ReadTimeout"):
        connection(stub.url, timeout=0.4).assets()
    assert time.monotonic() - before < 2


def test_a_server_that_never_answers_does_not_outlive_the_time_limit(stub: Stub) -> None:
    stub.answer = never
    with pytest.raises(VenueUnavailableError, match="Timeout"):
        connection(stub.url, timeout=0.2).assets()


def test_an_answer_that_breaks_off_in_its_middle_is_a_named_error(stub: Stub) -> None:
    scripted(stub)
    stub.missing_bytes = 50
    with pytest.raises(VenueUnavailableError, match="could not be asked for meta"):
        connection(stub.url).assets()


def test_an_answer_that_cannot_be_unpacked_is_a_named_error(stub: Stub) -> None:
    scripted(stub)
    stub.extra_headers = {"Content-Encoding": "gzip"}
    with pytest.raises(VenueUnavailableError, match="could not be asked for meta"):
        connection(stub.url).assets()


def test_an_answer_that_falls_silent_in_its_middle_is_a_named_error(stub: Stub) -> None:
    scripted(stub)
    stub.drip_seconds = 0.6
    with pytest.raises(VenueUnavailableError, match="ReadTimeout"):
        connection(stub.url, timeout=0.2).assets()


def test_a_symbol_that_is_missing_or_delisted_is_named_with_the_remedy(stub: Stub) -> None:
    universe = [META["universe"][0], META["universe"][0] | {"name": "OLD", "isDelisted": True}]
    contexts = [{"markPx": "1.0"}] * 2
    scripted(stub, metaAndAssetCtxs=[{"universe": universe}, contexts])
    for symbol, state in (("DOGE", "does not list"), ("OLD", "has delisted")):
        data = market_data_at(stub.url, FrozenClock(), symbols=[symbol], history_bars=3, timeout_seconds=2)
        with pytest.raises(
            Exception, match=f"{state} the perpetual '{symbol}': take it out of symbols.tracked"
        ):
            data.snapshot(1_790_000_000_000)


def test_an_answer_is_handed_on_as_it_came(stub: Stub) -> None:
    stub.answer = lambda _: (200, '{"error": "something of its own"}')
    assert travel("x", connection(stub.url).info.meta) == {"error": "something of its own"}
