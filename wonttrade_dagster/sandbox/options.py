"""What of the venue can be set when it starts.

Belongs here: limits and choices where the protocol leaves one, with the real venue's values as defaults.
Does not belong here: the exchange's rules (``core.simulation.VenueRules``), faults (``faults``).
"""

from dataclasses import dataclass
from decimal import Decimal

from wonttrade_dagster.core.request_weight import IP_WEIGHT_PER_MINUTE


@dataclass(frozen=True, slots=True)
class VenueOptions:
    """Settings of one loopback venue.

    Attributes:
        rate_limits: enforce the limits of protocol §11; they are counted and shown in any case.
        ip_weight_per_minute: of requests from one address of the network.
        free_requests: actions that an account may send before it has traded anything.
        schedule_cancel_volume_usd: traded volume that ``scheduleCancel`` asks for.
        stream_idle_ms: a stream on which the venue has sent nothing for so long is closed.
    """

    rate_limits: bool = False
    ip_weight_per_minute: int = IP_WEIGHT_PER_MINUTE
    free_requests: int = 10_000
    schedule_cancel_volume_usd: Decimal = Decimal(1_000_000)
    stream_idle_ms: int = 60_000
