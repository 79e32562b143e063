"""A loopback venue and model, a ``wonttrade.toml`` with canary secrets for them, and jobs run on it.

Everything here is the real program; only the machine's clock can be set back, so that tests need not wait
for the next minute.
"""

import base64
import copy
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import httpx2
import polars as pl
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info

from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.cli.home import prepare_home
from wonttrade_dagster.cli.jobs import QUIET
from wonttrade_dagster.core.model import CycleReport, Stage
from wonttrade_dagster.defs.build import build_defs
from wonttrade_dagster.defs.compose import Executors, compose_live_cycle
from wonttrade_dagster.defs.live_cycle import LiveCycle
from wonttrade_dagster.defs.partitions import cycle_key
from wonttrade_dagster.sandbox.accounts import SANDBOX_ACCOUNT_ADDRESS
from wonttrade_dagster.sandbox.server import Sandbox
from wonttrade_dagster.settings import Settings, load_settings

PROMPTS = Path(__file__).parents[1] / "prompts"
MINUTE_MS = 60_000
DAY_MS = 1440 * MINUTE_MS
_MANY = 100_000

CANARY_KEY = "0x" + "7e57ca9a12" * 6 + "beef"
CANARY_API_KEY = "sk-canary-Zx81qPv0mN44tR"
CANARIES = (CANARY_KEY, CANARY_API_KEY)

BASE: Mapping[str, Mapping[str, Any]] = {
    "runtime": {"mode": "TESTNET", "cycle_minutes": 1, "prompts_dir": PROMPTS.as_posix()},
    "credentials": {
        "account_address": SANDBOX_ACCOUNT_ADDRESS,
        "agent_private_key": CANARY_KEY,
        "openai_api_key": CANARY_API_KEY,
    },
    "hyperliquid": {"network": "local", "timeout_seconds": 2, "read_attempts": 1},
    "symbols": {"tracked": ["BTC", "ETH"], "history_bars": 120},
    "llm": {"provider": "openai", "model": "loopback-rule", "deadline_seconds": 4},
    "risk": {"max_position_usd": 3000, "max_gross_exposure_usd": 6000, "max_leverage": 3},
    "resilience": {"max_market_age_seconds": 55, "ledger_lock_seconds": 0.5},
    "telemetry": {
        "log_path": "data/logs/wonttrade.ndjson",
        "decision_log_path": "data/decision-log.ndjson",
        "heartbeat_path": "data/heartbeat.json",
        "metrics_path": "data/metrics.prom",
    },
    "backtest": {"cycle_minutes": 60},
}


def write_config(
    folder: Path, venue_url: str, model_url: str, changes: Mapping[str, Any] | None = None
) -> Path:
    """A ``wonttrade.toml`` in ``folder``; ``changes`` by dotted path, None takes the key out."""
    tables: dict[str, dict[str, Any]] = copy.deepcopy({name: dict(table) for name, table in BASE.items()})
    tables["hyperliquid"]["base_url"] = venue_url
    tables["llm"]["base_url"] = model_url
    for path, value in (changes or {}).items():
        table, key = path.rsplit(".", 1)
        tables.setdefault(table, {})[key] = value
    lines = []
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in table.items() if v is not None)]
    path = folder / "wonttrade.toml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


class SetBackClock:
    """The machine's clock, set back by two hours: a test that goes on a minute need not wait for it."""

    def __init__(self) -> None:
        self.offset_ms = -120 * MINUTE_MS

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.offset_ms

    @property
    def cycle_ms(self) -> int:
        """The running cycle."""
        return self.now_ms() // MINUTE_MS * MINUTE_MS

    def next_minute(self) -> int:
        """Go to two seconds past the next minute; returns its cycle."""
        self.offset_ms += MINUTE_MS - self.now_ms() % MINUTE_MS + 2_000
        return self.cycle_ms


@contextmanager
def set_back() -> Iterator[SetBackClock]:
    """A clock that is set back, read by every part of this process."""
    clock, original = SetBackClock(), SystemClock.now_ms
    SystemClock.now_ms = lambda _self: clock.now_ms()
    try:
        yield clock
    finally:
        SystemClock.now_ms = original


@dataclass
class Loopback:
    """Both loopback servers, the canary's agent approved, and what a test asks of them."""

    sandbox: Sandbox

    @classmethod
    @contextmanager
    def serving(cls, clock: SetBackClock | None = None) -> Iterator["Loopback"]:
        with Sandbox(seed=7, clock_ms=clock.now_ms if clock else None) as sandbox:
            loopback = cls(sandbox)
            loopback.begin_trend()
            agent = Account.from_key(CANARY_KEY).address
            loopback.venue("agent", {"user": SANDBOX_ACCOUNT_ADDRESS, "agent": agent})
            yield loopback

    def begin_trend(self) -> None:
        """BTC rose and ETH fell by 3 % fifty minutes ago: the rule's averages do not cross soon.

        Without it, a test whose model should keep its plan fails at the few times of day at which they do.
        """
        market, ago_ms = self.sandbox.venue.market, 50 * MINUTE_MS
        for coin, change in (("BTC", Decimal("1.03")), ("ETH", Decimal("0.97"))):
            px = market.mid_px(coin, market.now_ms() - ago_ms) * change
            market.set_price(coin, px, hold_ms=0, after_ms=-ago_ms)

    def config(self, folder: Path, **changes: Any) -> Path:
        """A settings file for these servers; ``runtime__mode`` stands for ``runtime.mode``."""
        dotted = {name.replace("__", "."): value for name, value in changes.items()}
        return write_config(folder, self.sandbox.venue_url, self.sandbox.model_url, dotted)

    def venue(self, name: str, body: Any) -> Any:
        """``POST /sandbox/<name>`` of the venue."""
        response = httpx2.post(f"{self.sandbox.venue_url}/sandbox/{name}", json=body)
        response.raise_for_status()
        return response.json()

    def model(self, name: str, body: Any = None) -> Any:
        """``/sandbox/<name>`` of the model server: a GET without a body."""
        url = f"{self.sandbox.model_url.removesuffix('/v1')}/sandbox/{name}"
        response = httpx2.get(url) if body is None else httpx2.post(url, json=body)
        response.raise_for_status()
        return response.json()

    def refuse_requests(self) -> None:
        """Every request from now on is answered by HTTP 500, and counted."""
        self.venue("faults", [{"on": "*", "kind": "500", "times": _MANY}])

    @property
    def refused_requests(self) -> int:
        """How many requests the venue has got since it began to refuse them."""
        waiting = httpx2.get(f"{self.sandbox.venue_url}/sandbox/faults").json()["faults"]
        return _MANY - sum(fault["times"] for fault in waiting)

    @property
    def model_calls(self) -> int:
        return int(self.model("state")["calls"])

    def info(self) -> Info:
        """The official SDK, reading only."""
        return Info(self.sandbox.venue_url, skip_ws=True)

    def positions(self) -> dict[str, float]:
        """Signed sizes, as the official SDK reads them."""
        rows = self.info().user_state(SANDBOX_ACCOUNT_ADDRESS)["assetPositions"]
        return {row["position"]["coin"]: float(row["position"]["szi"]) for row in rows}

    def cancel_triggers(self, coin: str) -> None:
        """Take a coin's protection away by hand, through the official SDK."""
        exchange = Exchange(
            Account.from_key(CANARY_KEY), self.sandbox.venue_url, account_address=SANDBOX_ACCOUNT_ADDRESS
        )
        for order in self.info().frontend_open_orders(SANDBOX_ACCOUNT_ADDRESS):
            if order["coin"] == coin:
                exchange.cancel(coin, order["oid"])

    def triggers(self) -> dict[str, list[str]]:
        """Coin → sorted types of its trigger orders, as the official SDK reads them."""
        found: dict[str, list[str]] = {}
        for order in self.info().frontend_open_orders(SANDBOX_ACCOUNT_ADDRESS):
            if order["isTrigger"]:
                found.setdefault(order["coin"], []).append(order["orderType"])
        return {coin: sorted(types) for coin, types in found.items()}


BOTH_LEGS = ["Stop Market", "Take Profit Market"]


@contextmanager
def instance_of(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The persistent Dagster home of these settings."""
    with dg.DagsterInstance.from_config(str(prepare_home(settings))) as instance:
        yield instance


def trade(config: Path, cycle_ms: int, tags: Mapping[str, str] | None = None) -> dg.ExecuteInProcessResult:
    """One live cycle through the real job, in this process, stored as a run."""
    job = build_defs(config).resolve_job_def("trade_cycle")
    with instance_of(load_settings(config)) as instance:
        return job.execute_in_process(
            instance=instance,
            partition_key=cycle_key(cycle_ms),
            tags=dict(tags or {}),
            run_config=dict(QUIET),
            raise_on_error=False,
        )


def run_stages(live: LiveCycle, clock: SetBackClock, stages: tuple[Stage, ...] = tuple(Stage)) -> CycleReport:
    """Run the stages of the next minute in this process, without Dagster around them."""
    cycle_ms = clock.next_minute()
    for stage in stages:
        record = live.run(stage, cycle_ms, None)
    live.lease.release()
    assert isinstance(record, CycleReport)
    return record


def trade_replies(
    loopback: Loopback, clock: SetBackClock, config: Path, replies: Sequence[str | None]
) -> tuple[int, ...]:
    """A cycle for each reply, in parts composed anew; None lets the model answer. Returns their times."""
    times = []
    for text in replies:
        loopback.model("faults", [])
        if text:
            loopback.model("faults", [{"kind": "reply", "text": text, "times": 9}])
        times.append(run_stages(compose_live_cycle(load_settings(config), Executors()), clock).cycle_ms)
    return tuple(times)


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """The sentence of the first failed step."""
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data and data.user_failure_data.description:
                return data.user_failure_data.description
            return str(data.error)
    raise AssertionError("no step failed")


def generated_history(settings: Settings, first_day_ms: int, days: int, warm_up_days: int = 25) -> None:
    """Candles of both intervals and funding: a smooth wave, so that a trend follower trades."""
    history = MarketHistory(settings.data_dir / "market.duckdb")
    from_ms, to_ms = first_day_ms - warm_up_days * DAY_MS, first_day_ms + days * DAY_MS
    for symbol, px in (("BTC", 100_000.0), ("ETH", 4_000.0)):
        for interval, step_ms in (("5m", 5 * MINUTE_MS), ("4h", 240 * MINUTE_MS)):
            history.add_candles(symbol, interval, wave(px, from_ms, to_ms, step_ms), "test")
        hours = pl.int_range(from_ms, to_ms + 1, 60 * MINUTE_MS, eager=True)
        funding = pl.DataFrame({"time_ms": hours}).with_columns(rate_hourly=pl.lit(0.0000125))
        history.add_funding(symbol, funding, "test")


def wave(px: float, from_ms: int, to_ms: int, step_ms: int) -> pl.DataFrame:
    """A price that swings by 4 % in ten hours; candles of different lengths show the same price."""

    def at(time_ms: pl.Expr) -> pl.Expr:
        return px * (1 + 0.04 * (time_ms / (10 * 60 * MINUTE_MS) * 6.283185307).sin())

    opened = pl.DataFrame({"open_time_ms": pl.int_range(from_ms, to_ms, step_ms, eager=True)})
    time_ms = pl.col("open_time_ms")
    priced = opened.with_columns(open=at(time_ms), close=at(time_ms + step_ms))
    return priced.with_columns(
        high=pl.max_horizontal("open", "close") * 1.0005,
        low=pl.min_horizontal("open", "close") * 0.9995,
        volume=pl.lit(12.5),
    ).select("open_time_ms", "open", "high", "low", "close", "volume")


def spellings(secret: str) -> set[bytes]:
    """Every form in which a secret could have been written down."""
    raw = secret.removeprefix("0x")
    forms = {secret, raw, raw.upper(), raw.lower()}
    if secret.startswith("0x"):
        packed = bytes.fromhex(raw)
        yields = {packed, base64.b64encode(packed), base64.urlsafe_b64encode(packed)}
    else:
        yields = set()
    for form in forms:
        yields |= {form.encode(), base64.b64encode(form.encode()).rstrip(b"="), form.encode("utf-16-le")}
    return yields


def leaks(folder: Path) -> list[str]:
    """Files below ``folder`` that hold a canary in any form; the settings file itself is where they live."""
    needles = set().union(*(spellings(canary) for canary in CANARIES))
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "wonttrade.toml")
    return [str(path.relative_to(folder)) for path in files if any(n in path.read_bytes() for n in needles)]
