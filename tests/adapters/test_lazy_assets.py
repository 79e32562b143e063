import pytest
from fakes import ScriptedMarket

from wonttrade_dagster.adapters.lazy_assets import LazyAssets
from wonttrade_dagster.core.errors import VenueUnavailableError
from wonttrade_dagster.core.model import AssetSpec, MarketSnapshot

BTC = AssetSpec("BTC", 0, 5, 40, ())


class OneAsset(ScriptedMarket):
    def __init__(self) -> None:
        super().__init__(MarketSnapshot(0, 0, "rest", ()))

    def assets(self) -> dict[str, AssetSpec]:
        super().assets()
        return {"BTC": BTC}


def test_nothing_is_asked_until_somebody_looks() -> None:
    market = OneAsset()
    assets = LazyAssets(market)
    assert market.asked_for_assets == 0
    assert assets["BTC"] is BTC
    assert market.asked_for_assets == 1


def test_it_reads_like_the_mapping_it_stands_for() -> None:
    assets = LazyAssets(OneAsset())
    assert dict(assets) == {"BTC": BTC}
    assert (len(assets), "BTC" in assets, "ETH" in assets) == (1, True, False)
    with pytest.raises(KeyError):
        assets["ETH"]


def test_a_venue_that_is_down_is_an_error_of_the_look_and_not_of_the_making() -> None:
    market = OneAsset()
    market.assets_failure = VenueUnavailableError("no answer")
    assets = LazyAssets(market)
    for look in (lambda: assets["BTC"], lambda: len(assets), lambda: list(assets), lambda: "BTC" in assets):
        with pytest.raises(VenueUnavailableError):
            look()
    market.assets_failure = None
    assert assets["BTC"] is BTC, "it asks anew"
