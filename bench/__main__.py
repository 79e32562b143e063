"""``python -m bench [NAME]``: run one benchmark, or list them.

Belongs here: arguments and the list. Does not belong here: any measurement.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.measure import Result
from bench.table import text
from wonttrade_dagster.core.errors import UsageError, WontTradeError


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark: a module of this package with ``run(count, seed) -> Result``."""

    summary: str
    count: int
    unit: str
    most: int
    least: int = 1
    has_peers: bool = False


BENCHMARKS: Mapping[str, Benchmark] = {
    "cycle": Benchmark(
        "warm live cycles against the loopback venue: own CPU in all, by stage, and the SDKs' share",
        count=50,
        unit="cycles",
        most=1000,
    ),
    "core": Benchmark("plan, prompt, judgement and indicators, each with its goal", 200, "calls", 100_000),
    "backtest": Benchmark(
        "backtest cycles: model over HTTP or canned, journal synced always or in batches, by stage",
        count=576,
        unit="cycles",
        most=100_000,
    ),
    "rule": Benchmark(
        "a year of minutes traded by a rule decided beforehand; --peers: the same in other backtesters",
        count=525_600,
        unit="bars",
        most=5_000_000,
        least=100,
        has_peers=True,
    ),
    "faults": Benchmark(
        "a fault campaign: random decisions, prices, faults and kills; fails when money was not safe",
        count=200,
        unit="cycles",
        most=1_000_000,
    ),
    "stream": Benchmark(
        "the venue's stream through drops, deaf and silent connections: bars, minutes and memory stay whole",
        count=200,
        unit="faults",
        most=10_000,
    ),
    "history": Benchmark(
        "broken candle files: fails when one is imported wrongly, or in part",
        count=10_000,
        unit="files",
        most=1_000_000,
    ),
    "replies": Benchmark(
        "hostile replies: a corpus damaged at random; fails on a crash, or when a broken one was applied",
        count=100_000,
        unit="replies",
        most=10_000_000,
    ),
    "shards": Benchmark(
        "a backtest in four shards side by side against one run, with a model that thinks for 500 ms",
        count=144,
        unit="calls a shard",
        most=288,
    ),
    "overhead": Benchmark(
        "a backtest as a backfill of Dagster's daemon against the same range called directly",
        count=30,
        unit="days",
        most=365,
    ),
    "walk": Benchmark(
        "bars walked by the simulated exchange under a standing stop and take-profit",
        count=525_600,
        unit="bars",
        most=5_000_000,
        least=2,
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark, or list them; the exit code: 2 for wrong usage, 1 when something failed."""
    options = _parser().parse_args(arguments)
    if options.name is None:
        _list(as_json=options.json)
        return 0
    try:
        return _run(options)
    except WontTradeError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Benchmarks of WontTrade's parts.")
    parser.add_argument("name", nargs="?", help="which one; none lists them")
    parser.add_argument("--json", action="store_true", help="print data instead of a table")
    parser.add_argument("--seed", type=int, default=1, help="of every generated price (default 1)")
    parser.add_argument("--count", "--cycles", type=int, help="how many of the benchmark's unit to measure")
    parser.add_argument(
        "--peers", action="store_true", help="rule: run the other backtesters, too (needs uv)"
    )
    return parser


def _list(*, as_json: bool) -> None:
    if as_json:
        print(json.dumps({name: _about(each) for name, each in BENCHMARKS.items()}, indent=2))
        return
    for name, each in BENCHMARKS.items():
        print(f"{name:10}{each.summary} (--count: {each.count} {each.unit})")


def _about(benchmark: Benchmark) -> dict[str, Any]:
    return {"summary": benchmark.summary, "count": benchmark.count, "unit": benchmark.unit}


def _run(options: argparse.Namespace) -> int:
    benchmark = BENCHMARKS.get(options.name)
    if benchmark is None:
        raise UsageError(f"there is no benchmark {options.name!r}: choose one of {', '.join(BENCHMARKS)}")
    count = benchmark.count if options.count is None else options.count
    if not benchmark.least <= count <= benchmark.most:
        raise UsageError(
            f"--count of {options.name} is {count}: choose {benchmark.least} to {benchmark.most} "
            f"{benchmark.unit}"
        )
    if options.peers and not benchmark.has_peers:
        raise UsageError(f"{options.name} has no peers to run: leave --peers out")
    peers = {"with_peers": True} if options.peers else {}
    # The SDKs take seconds to import: only the benchmark that is asked for loads its own.
    result: Result = importlib.import_module(f"bench.{options.name}").run(count, options.seed, **peers)
    if options.json:
        head = {"benchmark": options.name, "seed": options.seed, "count": count, "unit": benchmark.unit}
        print(json.dumps(head | result.data(), indent=2, allow_nan=False))
    else:
        print(text(options.name, benchmark.summary, result))
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
