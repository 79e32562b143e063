"""The code location: what ``dagster dev`` and ``dg dev`` load."""

import os
from pathlib import Path

from wonttrade_dagster.defs.build import defs_or_instruction

CONFIG_VARIABLE = "WONTTRADE_CONFIG"
"""Names the settings file (and nothing else); ``wonttrade --config`` sets it for the processes it starts."""

AUTOSTART_VARIABLE = "WONTTRADE_AUTOSTART"
"""Set by ``wonttrade up``: the sensor runs without being switched on by hand."""

defs = defs_or_instruction(
    Path(os.environ.get(CONFIG_VARIABLE, "wonttrade.toml")), autostart=AUTOSTART_VARIABLE in os.environ
)
