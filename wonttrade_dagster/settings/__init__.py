"""``wonttrade.toml`` as frozen, validated ``Settings``.

Belongs here: the public names. ``fields`` holds the kinds of value, ``tables`` the tables, ``draft`` and
``rules`` the judgement, ``loading`` the reading. Does not belong here: anything that reads a setting.
"""

from wonttrade_dagster.settings.loading import Family, Settings, load_settings
from wonttrade_dagster.settings.rules import LEGAL_NETWORKS
from wonttrade_dagster.settings.tables import TABLES

__all__ = ["LEGAL_NETWORKS", "TABLES", "Family", "Settings", "load_settings"]
