"""What a request is about: which coins, whose account. Read leniently, before anything is checked.

Belongs here: the facts by which a fault is limited. Does not belong here: whether the request is one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from wonttrade_dagster.sandbox.answers import Json
from wonttrade_dagster.sandbox.envelopes import SchemaError, read_envelope
from wonttrade_dagster.sandbox.signatures import UnrecoverableSignatureError, recover_signer
from wonttrade_dagster.sandbox.venue import LoopbackVenue


@dataclass(frozen=True, slots=True)
class About:
    """The coins and the account of one request; found out when asked, because a signature takes its time."""

    venue: LoopbackVenue
    body: Json

    def has_coin(self, coin: str) -> bool:
        """Whether the request is about ``coin``."""
        return coin in set(self._coins())

    def has_user(self, address: str) -> bool:
        """Whether the request is about the account ``address``, signed by its agent or itself."""
        return self._user() == address.lower()

    def _coins(self) -> Iterator[str]:
        body = self.body if isinstance(self.body, dict) else {}
        asked = body.get("req")
        inner = asked if isinstance(asked, dict) else body
        yield str(inner.get("coin"))
        names = {spec.asset_id: symbol for symbol, spec in self.venue.rules.assets.items()}
        yield from (names[asset] for asset in _assets(body.get("action")) if asset in names)

    def _user(self) -> str | None:
        body = self.body if isinstance(self.body, dict) else {}
        if "action" not in body:
            return str(body.get("user")).lower()
        try:
            signer = recover_signer(read_envelope(body))
        except (SchemaError, UnrecoverableSignatureError):
            return None
        with self.venue.lock:
            if self.venue.knows(signer):
                return signer
            return self.venue.agents.master_of(signer, self.venue.clock.host_ms())


@dataclass(frozen=True, slots=True)
class AnyCoin:
    """The account of a request alone: the coin of a fault of the market is where it strikes."""

    about: About

    def has_coin(self, coin: str) -> bool:
        """Always."""
        return bool(coin)

    def has_user(self, address: str) -> bool:
        """See :class:`About`."""
        return self.about.has_user(address)


def _assets(action: Json) -> Iterator[int]:
    """Every asset id that an action names."""
    if not isinstance(action, dict):
        return
    batches = [action.get(name) for name in ("orders", "cancels", "modifies")]
    rows: list[Json] = [action]
    for batch in batches:
        rows += batch if isinstance(batch, list) else []
    for row in rows:
        order = row.get("order", row) if isinstance(row, dict) else None
        if isinstance(order, dict):
            yield from (order[name] for name in ("a", "asset") if isinstance(order.get(name), int))
