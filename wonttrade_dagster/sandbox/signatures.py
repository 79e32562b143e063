"""Who signed an action: recovered with the official SDK's own functions, as testnet.

Belongs here: from an envelope to the signer's address (protocol §5). Does not belong here: whether that
address may do anything (``identities``).

A loopback URL makes the SDK sign as testnet, so the venue verifies as testnet. A wrong network, key order or
number text does not fail here: it recovers another address, exactly as on the venue.
"""

from collections.abc import Mapping
from typing import Any

USER_SIGNED = frozenset({"approveAgent", "usdClassTransfer", "usdSend", "withdraw3"})
"""Action types signed as a readable typed message instead of a hash."""
_NUMBERS = frozenset({"p", "s", "triggerPx"})
"""Price, size and trigger of an order."""


class UnrecoverableSignatureError(ValueError):
    """The signature is not a point on the curve."""


def recover_signer(envelope: Mapping[str, Any]) -> str:
    """Lower-case address that signed the envelope of an ``/exchange`` request.

    Raises:
        UnrecoverableSignatureError: the signature is garbage.
    """
    try:
        address = _recover(envelope)
    except Exception as error:  # the curve library raises half a dozen unrelated types for garbage
        raise UnrecoverableSignatureError("Unable to recover signer.") from error
    return address.lower()


def warm_up() -> None:
    """Import what the first signed request needs, so that it is answered as fast as the others."""
    _user_signed_types("usdSend")


def _recover(envelope: Mapping[str, Any]) -> str:
    from hyperliquid.utils import signing  # noqa: PLC0415 (0.9 s that only a signed request needs)

    action, signature = envelope["action"], envelope["signature"]
    if action["type"] in USER_SIGNED:
        types, primary_type = _user_signed_types(str(action["type"]))
        return str(
            signing.recover_user_from_user_signed_action(
                {"agentName": "", **action} if action["type"] == "approveAgent" else dict(action),
                signature,
                types,
                primary_type,
                is_mainnet=False,
            )
        )
    return str(
        signing.recover_agent_or_user_from_l1_action(
            _as_the_venue_writes(action),
            signature,
            envelope.get("vaultAddress"),
            envelope["nonce"],
            envelope.get("expiresAfter"),
            is_mainnet=False,
        )
    )


def _as_the_venue_writes(value: Any) -> Any:  # noqa: ANN401 (JSON)
    """The action as the venue hashes it: read and written anew, so that no number has a zero at its end."""
    if isinstance(value, list):
        return [_as_the_venue_writes(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _without_padding(item)
        if key in _NUMBERS and isinstance(item, str)
        else _as_the_venue_writes(item)
        for key, item in value.items()
    }


def _without_padding(number: str) -> str:
    return number.rstrip("0").rstrip(".") if "." in number else number


def _user_signed_types(action_type: str) -> tuple[list[dict[str, str]], str]:
    from hyperliquid.utils import signing  # noqa: PLC0415 (0.9 s that only a signed request needs)

    agent = [("hyperliquidChain", "string"), ("agentAddress", "address"), ("agentName", "string")]
    agent_types = [{"name": name, "type": kind} for name, kind in [*agent, ("nonce", "uint64")]]
    return {
        "approveAgent": (agent_types, "HyperliquidTransaction:ApproveAgent"),
        "usdClassTransfer": (
            signing.USD_CLASS_TRANSFER_SIGN_TYPES,
            "HyperliquidTransaction:UsdClassTransfer",
        ),
        "usdSend": (signing.USD_SEND_SIGN_TYPES, "HyperliquidTransaction:UsdSend"),
        "withdraw3": (signing.WITHDRAW_SIGN_TYPES, "HyperliquidTransaction:Withdraw"),
    }[action_type]
