"""``wonttrade status``: what the live system did last, from its own files.

Belongs here: reading the heartbeat and showing it. Does not belong here: asking the venue (``check``).
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wonttrade_dagster.adapters.clock import SystemClock
from wonttrade_dagster.adapters.telemetry import low_budget
from wonttrade_dagster.cli.home import running_instance
from wonttrade_dagster.cli.output import out, print_json, print_table
from wonttrade_dagster.defs.compose_stream import stream_windows
from wonttrade_dagster.settings import Settings, load_settings


def show_status(config: Path, *, as_json: bool) -> None:
    """Print the heartbeat and whether ``wonttrade up`` runs."""
    settings = load_settings(config)
    status = read_status(settings)
    if as_json:
        print_json(status)
        return
    rows = [(name, _text(value)) for name, value in status.items()]
    print_table(f"{settings.runtime.mode.value} on {settings.hyperliquid.network}", ("what", "state"), rows)
    beat = status["heartbeat"]
    for warning in low_budget(beat.get("requests") if isinstance(beat, dict) else None):
        out.print(f"warning: {warning}", markup=False, soft_wrap=True)
    if beat is None:
        out.print(f"no cycle has run yet: {settings.heartbeat_path} does not exist", markup=False)


def read_status(settings: Settings) -> dict[str, Any]:
    """Facts of the running system as plain data."""
    running = running_instance(settings)
    heartbeat = _heartbeat(settings.heartbeat_path)
    return {
        "now": datetime.now(UTC).isoformat(timespec="seconds"),
        "up": running.url if running else None,
        "mode": settings.runtime.mode.value,
        "network": settings.hyperliquid.network,
        "account": settings.credentials.account_address,
        "settings_sha256": settings.sha256,
        "stream": _stream(settings),
        "heartbeat": heartbeat,
    }


def _stream(settings: Settings) -> Any:  # noqa: ANN401 (JSON)
    """What the stream last said of itself, and how old that is; None where there never was one."""
    clock = SystemClock()
    now = stream_windows(settings, clock).now()
    if now is None:
        return None
    ages = [clock.now_ms() - received_ms for received_ms in now.received_ms.values()]
    return {
        "state": now.state,
        "age_seconds": round((clock.now_ms() - now.written_ms) / 1000, 1),
        "oldest_prices_seconds": round(max(ages) / 1000, 1) if ages else None,
        "problem": now.problem,
        **now.counts,
    }


def _heartbeat(path: Path) -> Any:  # noqa: ANN401 (JSON)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        return {"error": f"{path} is not JSON: delete it, the next cycle writes it anew"}


def _text(value: object) -> str:
    return json.dumps(value, indent=1, default=str) if isinstance(value, dict | list) else str(value)
