"""Telemetry: what the program says about itself to people and monitors.

Belongs here: the structured log, the heartbeat and the metrics, all without secrets and without NaN.
Does not belong here: the journal (that is a record of money, this is not), decisions about what to do.

Telemetry never stops a cycle: what cannot be written is counted and named in the next heartbeat and on
standard error.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import structlog
from structlog.processors import ExceptionRenderer, TimeStamper
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, WrappedLogger

from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.adapters.files import replace_atomically
from wonttrade_dagster.adapters.hyperliquid.budget import AddressBudget, Usage
from wonttrade_dagster.adapters.metrics import MetricsFile, Sample
from wonttrade_dagster.adapters.redaction import Redactor
from wonttrade_dagster.core.model import CycleReport, Leg
from wonttrade_dagster.core.ports import Clock

Category = Literal["market", "decision", "execution", "risk", "health"]
Status = Literal["starting", "ok", "degraded", "stopped"]

_STAMPS = frozenset({"category", "event", "timestamp", "level"})


class Telemetry:
    """Log, heartbeat and metrics of one process.

    Args:
        log_path: JSON lines, appended.
        heartbeat_path: one JSON object, replaced.
        metrics_path: Prometheus text, replaced; of this role alone.
        secrets: values that are replaced by ``[redacted]``, beside everything that looks like a key.
        mode: what the heartbeat says the program is doing.
        clock: tells the time of heartbeats.
    """

    def __init__(
        self,
        log_path: Path,
        heartbeat_path: Path,
        metrics_path: Path,
        secrets: Sequence[str] = (),
        *,
        mode: str = "",
        clock: Clock | None = None,
    ) -> None:
        self._heartbeat_path = heartbeat_path
        self._metrics = MetricsFile(metrics_path)
        self._redactor = Redactor(secrets, by_pattern=True)
        self._mode = mode
        self._clock = clock or SystemClock()
        self._lost: list[str] = []
        self._log = structlog.wrap_logger(
            _LogFile(log_path),
            processors=[
                TimeStamper(fmt="iso", utc=True),
                # show_locals would print the frames' variables, a private key among them.
                ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
                self._as_json_line,
            ],
            wrapper_class=structlog.BoundLogger,
            cache_logger_on_first_use=False,
        )

    def event(self, category: Category, name: str, **fields: object) -> None:
        """Append one line to the log; ``exc_info=error`` adds the traceback without its variables.

        A field called like a stamp of the line (``event``, ``category``, …) is written as ``field_<name>``.
        """
        safe = {f"field_{key}" if key in _STAMPS else key: value for key, value in fields.items()}
        self._attempt("log", lambda: self._log.msg(name, category=category, **safe))

    def heartbeat(
        self,
        status: Status,
        *,
        cycle_ms: int | None = None,
        outcome: str | None = None,
        error: str | None = None,
        alerts: Sequence[str] = (),
        unprotected_symbols: Sequence[str] = (),
        usage: Usage | None = None,
        model: Mapping[str, object] | None = None,
    ) -> None:
        """Replace the heartbeat file.

        ``unprotected`` in the file maps each symbol to the time since which it has been reported so;
        ``requests`` keeps the figures of the address that were read last.
        """
        now_ms = self._clock.now_ms()
        before = self._before()
        since = _unprotected_before(before)
        requests = _requests(usage, before)
        warnings = low_budget(requests)
        beat = {
            "status": "degraded" if warnings and status == "ok" else status,
            "mode": self._mode,
            "beat_at_ms": now_ms,
            "pid": os.getpid(),
            "cycle_ms": cycle_ms,
            "last_outcome": outcome,
            "last_error": error,
            "alerts": [*alerts, *warnings],
            "requests": requests,
            "model": model,
            "unprotected": {symbol: since.get(symbol, now_ms) for symbol in unprotected_symbols},
            "telemetry_lost": list(self._lost),
        }
        content = _dumped(self._redactor.value(_plain(beat))) + b"\n"
        self._attempt("heartbeat", lambda: replace_atomically(self._heartbeat_path, content))

    def cycle_finished(
        self,
        report: CycleReport,
        unprotected_seconds: Sequence[tuple[str, float]] = (),
        usage: Usage | None = None,
    ) -> None:
        """Log a cycle's report, count it, and beat.

        Args:
            report: the report of the cycle.
            unprotected_seconds: per symbol, as the execution measured it in this cycle.
            usage: what the cycle has sent to the venue.
        """
        naked = unprotected_symbols(report)
        facts = {"outcome": report.outcome, "reason": report.reason, "detail": report.detail} | _sent(usage)
        self.event("health", "cycle_finished", cycle_ms=report.cycle_ms, unprotected=naked, **facts)
        increments = _increments(report, unprotected_seconds) | _usage_increments(usage)
        gauges = _gauges(report, naked) | _usage_gauges(usage)
        self._attempt("metrics", lambda: self._metrics.update(increments, gauges))
        is_fine = report.outcome != "failed" and not report.alerts and not naked
        self.heartbeat(
            "ok" if is_fine else "degraded",
            cycle_ms=report.cycle_ms,
            outcome=report.outcome,
            error=None if report.outcome == "applied" else f"{report.reason}: {report.detail}",
            alerts=report.alerts,
            unprotected_symbols=naked,
            usage=usage,
            model=_model(report),
        )

    def _before(self) -> Mapping[str, Any]:
        """The heartbeat that stands; nothing when there is none, or it is not ours."""
        try:
            before = json.loads(self._heartbeat_path.read_bytes())
        except (OSError, ValueError):
            return {}
        return before if isinstance(before, dict) else {}

    def _attempt(self, what: str, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:
            lost = f"the {what} could not be written: {error.strerror or error}"
            if lost not in self._lost:
                self._lost.append(lost)
                with suppress(OSError, ValueError):  # its file may be on the same full disk, or closed
                    print(lost, file=sys.stderr)

    def _as_json_line(self, _logger: WrappedLogger, _method: str, event: EventDict) -> str:
        line = {"timestamp": event.pop("timestamp"), "category": event.pop("category"), **event}
        return _dumped(self._redactor.value(_plain(line))).decode()


def unprotected_symbols(report: CycleReport) -> tuple[str, ...]:
    """Symbols with a position and no stop-loss standing, as the report's read-back shows them."""
    stopped = {order.symbol for order in report.protection if order.leg is Leg.STOP_LOSS}
    return tuple(position.symbol for position in report.positions if position.symbol not in stopped)


def low_budget(requests: object) -> tuple[str, ...]:
    """The warning that a heartbeat's ``requests`` deserve: the address has used nearly all of its actions."""
    address = _address(requests)
    if address is None or not address.is_low:
        return ()
    return (f"THE ADDRESS BUDGET IS NEARLY USED UP: {address.sentence()}; each USD traded adds one",)


def _address(requests: object) -> AddressBudget | None:
    if not isinstance(requests, Mapping):
        return None
    used, cap = requests.get("address_used"), requests.get("address_cap")
    return AddressBudget(used, cap) if isinstance(used, int) and isinstance(cap, int) else None


def _unprotected_before(before: Mapping[str, Any]) -> Mapping[str, int]:
    try:
        return {symbol: int(since_ms) for symbol, since_ms in before["unprotected"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):  # not ours
        return {}


def _requests(usage: Usage | None, before: Mapping[str, Any]) -> dict[str, int]:
    """What the cycle sent, with the figures of the address that an earlier one read where it read none."""
    known = _address(before.get("requests"))
    kept = {"address_used": known.used, "address_cap": known.cap} if known else {}
    return kept | _sent(usage)


def _sent(usage: Usage | None) -> dict[str, int]:
    if usage is None:
        return {}
    sent = {
        "request_weight": usage.weight,
        "ip_weight_last_minute": usage.weight_last_minute,
        "actions_sent": usage.actions,
    }
    address = usage.address
    return sent | ({"address_used": address.used, "address_cap": address.cap} if address else {})


class _LogFile:
    """Appends a line with one write, so that several processes keep whole lines; opened each time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def msg(self, line: str) -> None:
        """Append ``line``. Raises ``OSError``."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab", buffering=0) as file:
            file.write(line.encode() + b"\n")


def _increments(report: CycleReport, unprotected_seconds: Sequence[tuple[str, float]]) -> dict[Sample, float]:
    counted: dict[Sample, float] = {
        ("wonttrade_cycles", report.outcome): 1,
        ("wonttrade_actions_planned", ""): report.actions_planned,
        ("wonttrade_actions_failed", ""): report.actions_failed,
        ("wonttrade_fees_usd", ""): float(sum(max(fill.fee_usd, Decimal(0)) for fill in report.fills)),
    }
    if report.model_latency_ms is not None:
        counted["wonttrade_model_calls", ""] = 1
        counted["wonttrade_model_latency_seconds", ""] = report.model_latency_ms / 1000
    for symbol, seconds in unprotected_seconds:
        counted["wonttrade_unprotected_seconds", symbol] = seconds
    return counted


def _usage_increments(usage: Usage | None) -> dict[Sample, float]:
    if usage is None:
        return {}
    return {("wonttrade_request_weight", ""): usage.weight, ("wonttrade_actions_sent", ""): usage.actions}


def _usage_gauges(usage: Usage | None) -> dict[Sample, float]:
    if usage is None:
        return {}
    gauges: dict[Sample, float] = {("wonttrade_ip_weight_last_minute", ""): usage.weight_last_minute}
    if usage.address is not None:
        gauges["wonttrade_address_actions_used", ""] = usage.address.used
        gauges["wonttrade_address_actions_cap", ""] = usage.address.cap
    return gauges


def _model(report: CycleReport) -> dict[str, object]:
    """What stands between the program and its model: since when and why calls are paused, what they cost."""
    breaker, spent = report.breaker, report.spending
    return {
        "failures_in_a_row": breaker.failures,
        "failing_since_ms": breaker.since_ms,
        "failing_because": breaker.reason or None,
        "paused_until_ms": breaker.open_until_ms,
        "usd_today": str(spent.day_usd),
        "usd_in_all": str(spent.total_usd),
        "calls_of_unknown_cost": spent.unpriced_calls,
    }


def _gauges(report: CycleReport, naked: Sequence[str]) -> dict[Sample, float]:
    gauges: dict[Sample, float] = {
        ("wonttrade_last_cycle_timestamp_seconds", ""): report.cycle_ms / 1000,
        ("wonttrade_alerts", ""): len(report.alerts),
        ("wonttrade_breaker_open", ""): report.breaker.open_until_ms is not None,
        ("wonttrade_model_usd_today", ""): float(report.spending.day_usd),
        ("wonttrade_unprotected_positions", ""): len(naked),
    }
    if report.account_value_usd is not None:
        gauges["wonttrade_account_value_usd", ""] = float(report.account_value_usd)
    if report.model_latency_ms is not None:
        gauges["wonttrade_last_model_latency_seconds", ""] = report.model_latency_ms / 1000
    return gauges


def _plain(value: object) -> Any:  # noqa: ANN401 (JSON)
    """Anything as JSON values: what is not finite becomes null, what is unknown its text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return str(value)


def _dumped(value: object) -> bytes:
    return json.dumps(value, allow_nan=False).encode("ascii")
