"""What a cycle has cost: the counts of its connections, and the venue's own figures of the address.

Belongs here: when the venue is asked for them. Does not belong here: the arithmetic (``budget``), showing it.
"""

from wonttrade_dagster.adapters.hyperliquid.budget import AddressBudget, Spent, Usage, total
from wonttrade_dagster.adapters.hyperliquid.exchange import HyperliquidVenue
from wonttrade_dagster.adapters.hyperliquid.info import HyperliquidMarketData
from wonttrade_dagster.core.errors import VenueError


class BudgetMeter:
    """Reads what the two halves of one process have sent.

    Args:
        market_data: the public half.
        venue: the account's half.
    """

    def __init__(self, market_data: HyperliquidMarketData, venue: HyperliquidVenue) -> None:
        self._budgets = (market_data.budget, venue.budget)
        self._venue = venue
        self._before = Spent(0, 0, 0)

    def read(self) -> Usage:
        """What was sent since the last reading.

        The address is asked for (weight 20) only after actions were sent: nothing else of ours uses it up.
        """
        sent_actions = total(self._budgets).actions - self._before.actions
        address = self._address() if sent_actions else None
        spent, before = total(self._budgets), self._before
        self._before = spent
        return Usage(spent.weight - before.weight, spent.weight_last_minute, sent_actions, address)

    def _address(self) -> AddressBudget | None:
        try:
            return self._venue.address_budget()
        except VenueError:
            return None  # the figures of an earlier cycle stay in the heartbeat and the metrics
