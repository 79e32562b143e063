"""The sandbox's own account and key. PUBLIC THROW-AWAY VALUES: never send money to them.

Belongs here: the well-known values that make ``wonttrade.toml.example`` work against ``wonttrade sandbox``
as it stands. Does not belong here: anything secret.

The key is the SHA-256 of a sentence, so that anybody can see it was not taken from somewhere, and the
account address has no key at all: it is the last 20 bytes of such a hash, traded by its agent alone, as a
real account should be. :func:`agent_private_key` and :func:`account_address` derive them; a test compares.
"""

from decimal import Decimal
from hashlib import sha256

SANDBOX_ACCOUNT_ADDRESS = "0xd4295c9aa449f58c2a8d78424dd223830c5e2f03"
"""The account that the sandbox funds at start; nobody has its key."""

SANDBOX_AGENT_PRIVATE_KEY = "0x1ad798e0dce38f1f7fcec9179e11c2341c9807f4c8c77f312c818715d588f76c"
"""The key of the agent that the sandbox lets trade the account. Public: it opens nothing anywhere else."""

SANDBOX_AGENT_ADDRESS = "0xa3e8d26e562afb1883e4a453c75d0a261a2e105a"
"""The agent's address, lower case."""

SANDBOX_USDC = Decimal(10_000)
"""What the account holds when the sandbox starts."""


def account_address() -> str:
    """How the account's address was made."""
    return "0x" + sha256(b"wonttrade sandbox account, public, throw-away").hexdigest()[-40:]


def agent_private_key() -> str:
    """How the agent's key was made."""
    return "0x" + sha256(b"wonttrade sandbox agent key, public, throw-away").hexdigest()
