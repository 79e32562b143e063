"""Questions that ``wonttrade check`` asks before anything trades; no order is ever sent.

Belongs here: who the key is to the account, whether clocks agree, what the account is worth.
Does not belong here: judging the answers, printing them (``cli``).
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from pydantic import SecretStr

from wonttrade_dagster.adapters.hyperliquid.budget import AddressBudget
from wonttrade_dagster.adapters.hyperliquid.connection import SdkConnection
from wonttrade_dagster.adapters.hyperliquid.exchange import read_address_budget
from wonttrade_dagster.adapters.hyperliquid.fields import Row, rows
from wonttrade_dagster.adapters.hyperliquid.signer import Signer
from wonttrade_dagster.core.ports import Clock

POOLED_MODES = frozenset({"unifiedAccount", "portfolioMargin"})
"""Answers to ``userAbstraction``: one balance for spot and perpetuals."""


class SignerRole(StrEnum):
    """What the configured key is to the configured account."""

    MASTER = "master"
    """The account's own key: it works, but an agent's key cannot withdraw and is the better one."""
    AGENT = "agent"
    FOREIGN_AGENT = "foreign_agent"
    """An agent of another account."""
    STRANGER = "stranger"
    """No agent of anybody: never approved, removed, or expired."""


@dataclass(frozen=True, slots=True)
class AgentApproval:
    """A named agent of the account; ``valid_until_ms`` is None where the venue does not say."""

    name: str
    address: str
    valid_until_ms: int | None


class HyperliquidPreflight:
    """Read-only questions about an account and a key.

    Args:
        base_url: ``http(s)://host[:port]``, no trailing slash.
        account_address: the account that is to be traded.
        agent_private_key: only its address is used.
        timeout_seconds: of each request.
        read_attempts: how often a read is tried.
        clock: what the venue's clock is compared with.
    """

    def __init__(
        self,
        *,
        base_url: str,
        account_address: str,
        agent_private_key: SecretStr | str,
        timeout_seconds: float,
        read_attempts: int,
        clock: Clock,
    ) -> None:
        self._connection = SdkConnection(
            base_url=base_url, timeout_seconds=timeout_seconds, read_attempts=read_attempts, clock=clock
        )
        key = agent_private_key if isinstance(agent_private_key, SecretStr) else SecretStr(agent_private_key)
        self._signer = Signer(
            self._connection,
            account_address=account_address,
            agent_private_key=key,
            clock=clock,
            expires_after_seconds=1,
        )
        self._address = account_address
        self._clock = clock

    @property
    def signer_address(self) -> str:
        """The address of the configured key."""
        return self._signer.address

    def account_role(self, address: str) -> str:
        """``user``, ``agent``, ``vault``, ``subAccount`` or ``missing``, as the venue names it."""
        return self._role(address).text("role")

    def signer_role(self) -> SignerRole:
        """What the key is to the account. Raises ``VenueError``."""
        signer = self.signer_address
        if signer.lower() == self._address.lower():
            return SignerRole.MASTER
        role = self._role(signer)
        if role.text("role") != "agent":
            return SignerRole.STRANGER
        master = role.row("data").text("user")
        return SignerRole.AGENT if master.lower() == self._address.lower() else SignerRole.FOREIGN_AGENT

    def named_agents(self) -> tuple[AgentApproval, ...]:
        """The account's named agents; the unnamed one is not listed by the venue. Raises ``VenueError``."""
        answer = self._connection.read("extraAgents", lambda info: info.extra_agents(self._address))
        return tuple(
            AgentApproval(
                row.text("name"),
                row.text("address"),
                row.integer("validUntil") if row.has("validUntil") else None,
            )
            for row in rows(answer, "extraAgents")
        )

    def expires_at_ms(self) -> int | None:
        """Until when the key may sign, None where the venue does not say. Raises ``VenueError``."""
        own = self.signer_address.lower()
        approvals = (agent for agent in self.named_agents() if agent.address.lower() == own)
        return next((agent.valid_until_ms for agent in approvals), None)

    def pools_spot(self) -> bool:
        """Whether spot and perpetuals share one balance, which the perpetuals side does not show whole.

        Raises:
            VenueError: the venue could not be asked.
        """
        mode = self._connection.read(
            "userAbstraction", lambda info: info.query_user_abstraction_state(self._address)
        )
        return mode in POOLED_MODES

    def address_budget(self) -> AddressBudget:
        """Actions that the account has used and may use. Raises ``VenueError``."""
        return read_address_budget(self._connection, self._address)

    def clock_skew_ms(self) -> int:
        """How far the venue's clock is ahead of ours, to half a round trip. Raises ``VenueError``."""
        before_ms = self._clock.now_ms()
        venue_ms = self._state().integer("time")
        return venue_ms - (before_ms + self._clock.now_ms()) // 2

    def account_value_usd(self) -> Decimal:
        """Equity of the perpetuals account. Raises ``VenueError``."""
        return self._state().row("marginSummary").decimal("accountValue")

    def spot_usdc(self) -> Decimal:
        """USDC on the spot side: what a unified account holds while its perpetuals side shows zero."""
        answer = self._connection.read(
            "spotClearinghouseState", lambda info: info.spot_user_state(self._address)
        )
        balances = Row.of(answer, "spotClearinghouseState").rows("balances")
        return sum((b.decimal("total") for b in balances if b.text("coin") == "USDC"), Decimal(0))

    def _state(self) -> Row:
        answer = self._connection.read("clearinghouseState", lambda info: info.user_state(self._address))
        return Row.of(answer, "clearinghouseState")

    def _role(self, address: str) -> Row:
        return Row.of(self._connection.read("userRole", lambda info: info.user_role(address)), "userRole")
