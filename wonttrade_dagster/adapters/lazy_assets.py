"""The venue's perpetuals as a mapping that asks only when it is looked into.

Belongs here: laziness. Does not belong here: how the venue is asked, caching (the adapter has it).
"""

from collections.abc import Iterator, Mapping

from wonttrade_dagster.core.model import AssetSpec
from wonttrade_dagster.core.ports import MarketData


class LazyAssets(Mapping[str, AssetSpec]):
    """Assets of ``market_data``: a venue that is down at the start of a run must not end the run.

    Looking into it raises ``VenueError`` when the venue cannot be asked.
    """

    def __init__(self, market_data: MarketData) -> None:
        self._market_data = market_data

    def __getitem__(self, symbol: str) -> AssetSpec:
        return self._market_data.assets()[symbol]

    def __iter__(self) -> Iterator[str]:
        return iter(self._market_data.assets())

    def __len__(self) -> int:
        return len(self._market_data.assets())
