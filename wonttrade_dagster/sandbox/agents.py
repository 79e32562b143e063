"""API wallets: which agent may sign for which account (protocol §12).

Belongs here: approval, expiry, limits of agents. Does not belong here: signatures, accounts' money.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

DAY_MS = 86_400_000
DEFAULT_VALIDITY_MS = 90 * DAY_MS
MAX_VALIDITY_MS = 180 * DAY_MS
MAX_NAMED_AGENTS = 3
_VALID_UNTIL = re.compile(r"^(.*?)\s+valid_until\s+(\d+)$")


class AgentError(ValueError):
    """The venue refuses the approval; the message is its sentence."""


@dataclass(frozen=True, slots=True)
class Agent:
    """One approved agent; addresses in lower case, ``name`` empty for the unnamed one."""

    address: str
    master: str
    name: str
    valid_until_ms: int


class AgentBook:
    """All approved agents by address."""

    def __init__(self, agents: Iterable[Agent] = ()) -> None:
        self._agents = {agent.address: agent for agent in agents}

    def approve(self, master: str, address: str, name: str, now_ms: int) -> Agent:
        """Let ``address`` sign for ``master``; an agent of the same name is replaced.

        Raises:
            AgentError: the address is taken, the name's expiry has passed, or there are too many.
        """
        plain_name, valid_until_ms = _validity(name, now_ms)
        if address in self._agents and self._agents[address].master != master:
            raise AgentError("Extra agent already used.")
        others = [a for a in self.of(master, now_ms) if a.name != plain_name and a.address != address]
        if plain_name and len([a for a in others if a.name]) >= MAX_NAMED_AGENTS:
            raise AgentError(
                f"Too many extra agents for cumulative volume traded. Current limit is {MAX_NAMED_AGENTS}"
            )
        self._forget(master, plain_name)
        agent = Agent(address, master, plain_name, valid_until_ms)
        self._agents[address] = agent
        return agent

    def master_of(self, address: str, now_ms: int) -> str | None:
        """The account that ``address`` may sign for now, or None."""
        agent = self._agents.get(address)
        return agent.master if agent is not None and agent.valid_until_ms > now_ms else None

    def of(self, master: str, now_ms: int) -> list[Agent]:
        """The valid agents of an account, in the order of their approval."""
        return [a for a in self._agents.values() if a.master == master and a.valid_until_ms > now_ms]

    def all(self) -> list[Agent]:
        """Every agent, expired ones too."""
        return list(self._agents.values())

    def _forget(self, master: str, name: str) -> None:
        gone = [a.address for a in self._agents.values() if a.master == master and a.name == name]
        for address in gone:
            del self._agents[address]


def _validity(name: str, now_ms: int) -> tuple[str, int]:
    found = _VALID_UNTIL.match(name)
    if found is None:
        return name, now_ms + DEFAULT_VALIDITY_MS
    valid_until_ms = int(found.group(2))
    if valid_until_ms <= now_ms:
        raise AgentError("Agent valid_until already expired.")
    return found.group(1), min(valid_until_ms, now_ms + MAX_VALIDITY_MS)
