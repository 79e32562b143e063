"""Whose key it is that signs, as the venue tells it before anything is sent."""

import pytest
from pydantic import SecretStr
from venue_stub import ADDRESS, KEY, FrozenClock, Stub, connection, scripted

from wonttrade_dagster.adapters.hyperliquid import HyperliquidPreflight
from wonttrade_dagster.adapters.hyperliquid.signer import Signer


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ({"role": "agent", "data": {"user": ADDRESS.upper().replace("0X", "0x")}}, "agent"),
        ({"role": "agent", "data": {"user": "0x" + "cd" * 20}}, "foreign_agent"),
        ({"role": "user"}, "stranger"),
        ({"role": "missing"}, "stranger"),
    ],
)
def test_the_preflight_tells_whose_agent_the_key_is(stub: Stub, role: object, expected: str) -> None:
    scripted(stub, userRole=role)
    preflight = HyperliquidPreflight(
        base_url=stub.url,
        account_address=ADDRESS,
        agent_private_key=KEY,
        timeout_seconds=2,
        read_attempts=1,
        clock=FrozenClock(),
    )
    assert preflight.signer_role() == expected


def test_the_preflight_knows_the_accounts_own_key() -> None:
    made = connection("http://127.0.0.1:1")
    signer = Signer(
        made,
        account_address=ADDRESS,
        agent_private_key=SecretStr(KEY),
        clock=FrozenClock(),
        expires_after_seconds=1,
    )
    preflight = HyperliquidPreflight(
        base_url="http://127.0.0.1:1",
        account_address=signer.address,
        agent_private_key=KEY,
        timeout_seconds=2,
        read_attempts=1,
        clock=FrozenClock(),
    )
    assert preflight.signer_role() == "master"
