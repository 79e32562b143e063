"""``python -m wonttrade_dagster.sandbox``: both loopback servers in the foreground.

Belongs here: arguments. Does not belong here: anything else (``wonttrade sandbox`` is the same, in colour).
"""

import argparse
import sys
from pathlib import Path

from wonttrade_dagster.core.errors import WontTradeError
from wonttrade_dagster.sandbox.server import DEFAULT_SEED, SandboxOptions, run_sandbox


def main() -> int:
    """Serve until a signal; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m wonttrade_dagster.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="the venue's port (0: a free one)")
    parser.add_argument("--model-port", type=int, default=0, help="the model server's port (0: a free one)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="makes market and model reproducible")
    parser.add_argument(
        "--model-latency-ms", type=int, default=0, help="how long the model pretends to think"
    )
    parser.add_argument("--rate-limits", action="store_true", help="enforce the venue's request limits")
    parser.add_argument("--candles", type=Path, nargs="+", default=[], help="recorded candles and funding")
    parser.add_argument("--script", type=Path, help="a JSON file of price moves")
    parser.add_argument("--state", type=Path, help="keep the venue's state in this file across its own death")
    args = parser.parse_args()
    try:
        run_sandbox(
            SandboxOptions(
                port=args.port,
                model_port=args.model_port,
                seed=args.seed,
                model_latency_ms=args.model_latency_ms,
                rate_limits=args.rate_limits,
                candles=args.candles,
                script=args.script,
                state_path=args.state,
            )
        )
    except WontTradeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
