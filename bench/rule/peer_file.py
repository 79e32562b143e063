"""What every peer reads and tells; imported by the peers' scripts, which run without this project.

Belongs here: the file of bars and decisions as arrays, the line of JSON at the end.
Does not belong here: a peer.
"""

import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class RuleFile:
    """Bars and decisions; ``side`` (+1, −1, 0: none) is what the close of that bar decided."""

    open_time_ms: Any
    open: Any
    high: Any
    low: Any
    close: Any
    volume: Any
    side: Any
    stop_px: Any
    take_profit_px: Any
    deposit_usd: float
    size_base: float
    fee_rate: float

    @classmethod
    def read(cls) -> "RuleFile":
        """The file that the command line names."""
        with np.load(sys.argv[1]) as held:
            arrays = {name: held[name] for name in held.files}
        return cls(**{name: each if each.ndim else float(each) for name, each in arrays.items()})


def tell(file: RuleFile, version: str, run: Callable[[], tuple[int, float]]) -> None:
    """Run, and print what it took: ``run`` gives the number of trades and the final equity."""
    gc.collect()
    gc.freeze()
    began_ns = time.process_time_ns()
    trades, equity_usd = run()
    cpu_seconds = (time.process_time_ns() - began_ns) / 1e9
    told = {"version": version, "bars": len(file.close), "cpu_seconds": cpu_seconds}
    print(json.dumps(told | {"trades": trades, "final_equity_usd": equity_usd}))
