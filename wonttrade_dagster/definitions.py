"""The code location: what ``dagster dev`` and ``dg dev`` load."""

import os
from pathlib import Path

from wonttrade_dagster.defs.build import AUTOSTART_VARIABLE, CONFIG_VARIABLE, defs_or_instruction

defs = defs_or_instruction(
    Path(os.environ.get(CONFIG_VARIABLE, "wonttrade.toml")), autostart=AUTOSTART_VARIABLE in os.environ
)
