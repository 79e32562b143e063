"""``wonttrade demo``: everything once, with nothing but the checkout.

Belongs here: the order of the show, its settings file, its summary. Does not belong here: any part of a
cycle or a backtest; what runs is the same job, the same adapters and the same settings as in earnest.
"""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.status import Status

from wonttrade_dagster.adapters.backtest_results import backtest_folder
from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.adapters.report.headline import headline
from wonttrade_dagster.adapters.report.writer import REPORT_NAME
from wonttrade_dagster.cli.backtest import (
    BacktestRequest,
    check_request,
    in_foreground,
    read_summary,
)
from wonttrade_dagster.cli.output import err, out, print_json, print_table
from wonttrade_dagster.core.errors import UsageError, WontTradeError
from wonttrade_dagster.core.model import AccountSnapshot
from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS, SANDBOX_AGENT_PRIVATE_KEY
from wonttrade_dagster.sandbox.server import Sandbox
from wonttrade_dagster.settings import Settings, load_settings

MARKER = ".wonttrade-demo"
CYCLES = 2
LEAST_TIME_LEFT_MS = 20_000
"""A first cycle starts in the running minute only if this much of it is left; else at the next one."""

PROMPTS_DIR = Path(__file__).parents[2] / "prompts"

SETTINGS = """\
# Written by `wonttrade demo`: a loopback venue, a loopback stand-in for the model, public throw-away keys.
[runtime]
mode = "TESTNET"
cycle_minutes = 1
data_dir = "data"
prompts_dir = "{prompts_dir}"

[credentials]
account_address = "{account}"
agent_private_key = "{key}"
openai_api_key = "loopback-needs-no-key"

[hyperliquid]
network = "local"
base_url = "{venue}"

[symbols]
tracked = ["BTC", "ETH"]

[llm]
provider = "openai"
model = "loopback-rule"
base_url = "{model}"
deadline_seconds = 20

[risk]
max_position_usd = 3000
max_gross_exposure_usd = 6000
max_leverage = 3

[execution]
max_decision_age_seconds = 60

[resilience]
max_market_age_seconds = 55

[telemetry]
log_path = "data/logs/wonttrade.ndjson"
decision_log_path = "data/decision-log.ndjson"
heartbeat_path = "data/heartbeat.json"
metrics_path = "data/metrics/live.prom"

[backtest]
cycle_minutes = 15
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the demo did."""

    cycles: tuple[Mapping[str, Any], ...]
    account: AccountSnapshot
    backtest_id: str
    summary: Mapping[str, Any]
    report: Path
    seconds: float


def run_demo(data_dir: Path, *, seed: int, as_json: bool) -> None:
    """Run the demo and print what came of it.

    Raises:
        UsageError: ``data_dir`` holds something that is not a demo's.
        WontTradeError: a step failed; says which.
    """
    started = time.monotonic()
    prepare_folder(data_dir)
    with err.status("starting the loopback venue and model") as status, Sandbox(seed=seed) as sandbox:
        settings = write_settings(data_dir, sandbox.venue_url, sandbox.model_url)
        shown = _show(settings, status, started)
    _print(shown, as_json=as_json)


def prepare_folder(data_dir: Path) -> None:
    """Start afresh in a folder that is the demo's alone."""
    if data_dir.exists():
        if any(data_dir.iterdir()) and not (data_dir / MARKER).exists():
            raise UsageError(f"{data_dir} holds something that is not a demo's: name another --data-dir")
        shutil.rmtree(data_dir)
    data_dir.mkdir(parents=True)
    (data_dir / MARKER).touch()


def write_settings(data_dir: Path, venue_url: str, model_url: str) -> Settings:
    """The demo's ``wonttrade.toml``, loaded."""
    path = data_dir / "wonttrade.toml"
    content = SETTINGS.format(
        prompts_dir=PROMPTS_DIR.as_posix(),
        account=SANDBOX_ACCOUNT_ADDRESS,
        key=SANDBOX_AGENT_PRIVATE_KEY,
        venue=venue_url,
        model=model_url,
    )
    path.write_text(content, encoding="utf-8")
    return load_settings(path)


def _show(settings: Settings, status: Status, started: float) -> Shown:
    from wonttrade_dagster.defs.compose import venue  # noqa: PLC0415 (every part, a second of imports)

    status.update("loading Dagster")
    session = LiveSession(settings)
    status.update("live cycle 1 of 2: snapshot, prompt, decision, orders")
    first = session.run_cycle(session.first_cycle_ms())
    status.update("fetching the loopback venue's past")
    yesterday = fetch_history(settings)
    status.stop()
    request = BacktestRequest(yesterday, yesterday)
    backtest_id = in_foreground(check_request(settings, request))
    status.start()
    status.update("live cycle 2 of 2: waiting for the next minute")
    second = session.run_cycle(first["cycle_ms"] + 60_000)
    return Shown(
        cycles=(first, second),
        account=venue(settings, SystemClock()).account(),
        backtest_id=backtest_id,
        summary=read_summary(settings, backtest_id),
        report=backtest_folder(settings.data_dir, backtest_id) / REPORT_NAME,
        seconds=time.monotonic() - started,
    )


class LiveSession:
    """Runs live cycles through the real Dagster job, in this process."""

    def __init__(self, settings: Settings) -> None:
        import dagster  # noqa: PLC0415, F401 (taken here, where the status says so)

        self._settings = settings

    def first_cycle_ms(self) -> int:
        """The running minute if enough of it is left, else the next one."""
        now_ms = SystemClock().now_ms()
        minute_ms = now_ms // 60_000 * 60_000
        return minute_ms if minute_ms + 60_000 - now_ms > LEAST_TIME_LEFT_MS else minute_ms + 60_000

    def run_cycle(self, cycle_ms: int) -> dict[str, Any]:
        """Run one cycle; a cycle in the future is waited for. Raises ``WontTradeError`` when it failed."""
        from wonttrade_dagster.cli.jobs import run_job  # noqa: PLC0415 (Dagster takes seconds)
        from wonttrade_dagster.defs.compose import journal, ledger  # noqa: PLC0415 (every part, a second of imports)
        from wonttrade_dagster.defs.live import JOB_NAME  # noqa: PLC0415 (Dagster takes seconds)
        from wonttrade_dagster.defs.partitions import cycle_key  # noqa: PLC0415 (Dagster takes seconds)

        self._wait_until_near(cycle_ms)
        run_job(self._settings, JOB_NAME, partition_key=cycle_key(cycle_ms))
        report = ledger(self._settings, journal(self._settings)).last_report(cycle_ms + 1)
        if report is None or report.cycle_ms != cycle_ms:
            raise WontTradeError(f"cycle {cycle_key(cycle_ms)} left no report: see {self._settings.log_path}")
        return {
            "cycle": cycle_key(cycle_ms),
            "cycle_ms": cycle_ms,
            "outcome": report.outcome,
            "detail": report.detail,
            "actions": report.actions_planned,
            "account_value_usd": str(report.account_value_usd),
            "alerts": list(report.alerts),
        }

    def _wait_until_near(self, cycle_ms: int) -> None:
        """A partition that is two cycles away does not exist yet; one is enough of a lead."""
        clock = SystemClock()
        while (left_ms := cycle_ms - clock.now_ms()) > 45_000:
            clock.sleep(min(left_ms / 1000 - 45, 1.0))


def fetch_history(settings: Settings) -> str:
    """Yesterday's candles and funding of the loopback venue, with their warm-up; returns the day."""
    from wonttrade_dagster.defs.compose import market_history, venue_history  # noqa: PLC0415 (as above: every part)

    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    yesterday = today - timedelta(days=1)
    source, history = venue_history(settings), market_history(settings)
    spans = {settings.symbols.intraday_interval: 5, settings.symbols.long_interval: 170}
    until_ms = int(today.timestamp()) * 1000
    for symbol in settings.symbols.tracked:
        for interval, days in spans.items():
            since_ms = int((yesterday - timedelta(days=days)).timestamp()) * 1000
            history.add_candles(
                symbol, interval, source.candles(symbol, interval, since_ms, until_ms), "venue"
            )
        since_ms = int((yesterday - timedelta(days=1)).timestamp()) * 1000
        history.add_funding(symbol, source.funding(symbol, since_ms, until_ms + 1), "venue")
    return yesterday.strftime("%Y-%m-%d")


def _print(shown: Shown, *, as_json: bool) -> None:
    if as_json:
        print_json(_data(shown))
        return
    rows = [
        (c["cycle"], c["outcome"], c["actions"], c["account_value_usd"], c["detail"]) for c in shown.cycles
    ]
    print_table(
        "live cycles on the loopback venue", ("cycle", "outcome", "actions", "account USD", "detail"), rows
    )
    columns = ("symbol", "size", "entry", "stop-loss", "take-profit")
    print_table("what stands on the venue now", columns, _positions(shown.account))
    print_table(f"backtest {shown.backtest_id}", ("figure", "value"), headline(shown.summary))
    out.print(f"report: {shown.report}", markup=False, soft_wrap=True)
    out.print(
        f"done in {shown.seconds:.0f} s; the model was a fixed rule, its figures mean nothing", markup=False
    )


def _positions(account: AccountSnapshot) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for position in account.positions:
        legs = {order.leg: order.trigger_px for order in account.protection(position.symbol)}
        stop, take = (next((px for leg, px in legs.items() if leg == name), None) for name in _LEGS)
        rows.append((position.symbol, position.size_base, position.entry_px, stop, take))
    return rows


_LEGS = ("stop_loss", "take_profit")


def _data(shown: Shown) -> dict[str, Any]:
    names = ("symbol", "size_base", "entry_px", "stop_loss_px", "take_profit_px")
    return {
        "cycles": list(shown.cycles),
        "positions": [dict(zip(names, map(str, row), strict=True)) for row in _positions(shown.account)],
        "backtest": {"id": shown.backtest_id, "summary": shown.summary},
        "report": str(shown.report),
        "seconds": round(shown.seconds, 1),
    }
