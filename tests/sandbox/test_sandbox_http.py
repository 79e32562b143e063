"""The HTTP layer of the venue: what is no request, and what the control endpoints take."""

from typing import Any

import pytest
import requests
from sandbox_control import Control
from sandbox_samples import Json

from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS
from wonttrade_dagster.sandbox.server import Sandbox

JSON = {"Content-Type": "application/json"}


def post(sandbox: Sandbox, path: str, data: str, headers: dict[str, str]) -> tuple[int, str]:
    answer = requests.post(sandbox.venue_url + path, data=data, headers=headers, timeout=5)
    return answer.status_code, answer.text


def test_what_is_no_request_gets_the_venues_status_and_text(sandbox: Sandbox) -> None:
    schema = "Failed to deserialize the JSON body into the target type"
    assert post(sandbox, "/info", "{", JSON) == (400, "Failed to parse the request body as JSON")
    assert post(sandbox, "/info", '{"type":"nothing"}', JSON) == (422, schema)
    assert post(sandbox, "/info", "[]", JSON) == (422, schema)
    assert post(sandbox, "/info", "{}", {"Content-Type": "text/plain"})[0] == 415
    assert post(sandbox, "//info", "{}", JSON)[0] == 404
    assert post(sandbox, "/exchange", '{"action":{"type":"order"}}', JSON) == (422, schema)


SIGNATURE = {"r": "0x1", "s": "0x2", "v": 27}
LIMIT = {"limit": {"tif": "Gtc"}}
ORDER: dict[str, Any] = {"a": 3, "b": True, "p": "80000", "s": "0.01", "r": False, "t": LIMIT}


@pytest.mark.parametrize(
    "change",
    [
        {"p": 80000},
        {"p": "-1"},
        {"p": "1e5"},
        {"s": "0.000000001"},
        {"t": {"limit": {"tif": "Fok"}}},
        {"t": {}},
        {"c": "0x1"},
        {"b": 1},
    ],
)
def test_an_order_with_a_broken_field_is_unprocessable(sandbox: Sandbox, change: dict[str, Any]) -> None:
    from eth_account import Account
    from hyperliquid.utils.signing import sign_l1_action

    from wonttrade_dagster.sandbox.accounts import SANDBOX_AGENT_PRIVATE_KEY

    action = {"type": "order", "orders": [ORDER | change], "grouping": "na"}
    nonce = sandbox.venue.clock.host_ms()
    wallet = Account.from_key(SANDBOX_AGENT_PRIVATE_KEY)
    signature = sign_l1_action(wallet, action, None, nonce, None, False)
    body = {"action": action, "nonce": nonce, "signature": signature, "vaultAddress": None}
    answer = requests.post(f"{sandbox.venue_url}/exchange", json=body, timeout=5)
    assert answer.status_code == 422


def test_garbage_signatures_and_unknown_envelope_keys_are_refused(sandbox: Sandbox) -> None:
    body = {"action": {"type": "noop"}, "nonce": 1, "signature": {"r": "0x0", "s": "0x0", "v": 27}}
    answer = requests.post(f"{sandbox.venue_url}/exchange", json=body, timeout=5)
    assert answer.json() == {"status": "err", "response": "Unable to recover signer."}
    extra = requests.post(f"{sandbox.venue_url}/exchange", json=body | {"extra": 1}, timeout=5)
    assert extra.status_code == 422


def test_unknown_coins_are_null_and_unknown_users_are_empty(sandbox: Sandbox) -> None:
    def ask(body: dict[str, Any]) -> Json:
        return requests.post(f"{sandbox.venue_url}/info", json=body, timeout=5).json()

    assert ask({"type": "l2Book", "coin": "NOPE"}) is None
    nobody = "0x" + "ab" * 20
    state = ask({"type": "clearinghouseState", "user": nobody.upper().replace("0X", "0x")})
    assert state["withdrawable"] == "0.0"
    assert state["assetPositions"] == []
    assert ask({"type": "userRole", "user": nobody}) == {"role": "missing"}


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("fund", {"user": "0x12", "usdc": 1}),
        ("fund", {"user": SANDBOX_ACCOUNT_ADDRESS, "usdc": -1}),
        ("fund", {"usdc": 1}),
        ("price", {"coin": "NOPE", "mid": 1}),
        ("price", {"coin": "BTC", "mid": 0}),
        ("price", {"coin": "BTC", "mid": "NaN"}),
        ("time", {"advance_ms": -1}),
        ("faults", [{"kind": "earthquake"}]),
        ("faults", [{"kind": "hang", "times": 0}]),
        ("restore", {"seed": 7}),
        ("restore", {"path": "/nowhere/at/all"}),
    ],
)
def test_a_wrong_control_request_says_what_is_wrong(sandbox: Sandbox, name: str, body: Json) -> None:
    answer = requests.post(f"{sandbox.venue_url}/sandbox/{name}", json=body, timeout=5)
    assert answer.status_code == 400
    assert len(answer.json()["error"]) > 10


def test_the_state_shows_accounts_mids_and_waiting_faults(sandbox: Sandbox, control: Control) -> None:
    control("faults", {"on": "info", "kind": "500", "times": 2})
    state = requests.get(f"{sandbox.venue_url}/sandbox/state", timeout=5).json()
    assert state["accounts"][SANDBOX_ACCOUNT_ADDRESS]["withdrawable"] == "10000.0"
    assert state["faults"] == [{"on": "info", "kind": "500", "times": 2}]
    assert {"SOL", "APT", "ATOM", "BTC", "ETH", "PURR/USDC"} <= set(state["mids"])
    assert control("faults", []) == {"faults": []}
