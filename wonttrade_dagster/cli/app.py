"""The command tree. Commands import what they need when they run: ``--help`` stays fast.

Belongs here: arguments, options, help texts. Does not belong here: what a command does.
"""

from collections.abc import Sequence
from errno import EDQUOT, ENOSPC, EROFS
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer._click.exceptions import ClickException  # typer exports the base class only, which shows nothing

from wonttrade_dagster.cli.output import err
from wonttrade_dagster.core.errors import UsageError, WontTradeError

app = typer.Typer(
    name="wonttrade",
    help="Let a large language model trade Hyperliquid perpetuals, and test it before you do.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
history_app = typer.Typer(help="Candles and funding into and out of market.duckdb.", no_args_is_help=True)
app.add_typer(history_app, name="history")

Config = Annotated[Path, typer.Option("--config", help="The settings file.", show_default=True)]
Json = Annotated[bool, typer.Option("--json", help="Print data instead of tables.")]
CYCLE = typer.Argument(help="Its UTC minute, like 2026-11-23T12:03, or last.", metavar="CYCLE")
Replace = Annotated[bool, typer.Option("--replace", help="Overwrite values that differ.")]
Symbols = Annotated[
    str | None, typer.Option(help="Separated by commas; default: the tracked ones, for export all.")
]
FromDay = Annotated[str | None, typer.Option("--from", help="First UTC day, YYYY-MM-DD.")]
ToDay = Annotated[str | None, typer.Option("--to", help="Last UTC day, included.")]
Seed = Annotated[int, typer.Option(help="The same seed walks the same market.")]
Format = Literal["table", "csv", "json"]
TimeUnit = Literal["s", "ms", "us", "ns"]
BacktestId = Annotated[str | None, typer.Option("--backtest", help="Of this backtest, not of live trading.")]
DEFAULT_CONFIG = Path("wonttrade.toml")
_FULL = frozenset({ENOSPC, EDQUOT, EROFS})


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong usage or configuration."""
    try:
        result = app(list(arguments), standalone_mode=False)
    except WontTradeError as error:
        return _told(error)
    except ClickException as error:
        error.show()
        return 2
    except (typer.Abort, KeyboardInterrupt):
        err.print("wonttrade: interrupted")
        return 130
    except OSError as error:
        if error.errno not in _FULL:
            raise
        from wonttrade_dagster.adapters.files import storage_error

        return _told(storage_error(Path(error.filename or "the disk"), error))
    return result if isinstance(result, int) else 0


def _told(error: WontTradeError) -> int:
    """Its sentence on standard error; the exit code."""
    err.print(f"wonttrade: {error}", markup=False, style="red", soft_wrap=True)
    return error.exit_code


@app.command()
def demo(
    data_dir: Annotated[
        Path, typer.Option("--data-dir", help="Where the demo writes; never shared with anything real.")
    ] = Path("data/demo"),
    seed: Seed = 7,
    json: Json = False,
) -> None:
    """Everything once, with nothing but the checkout: no account, no key, no internet.

    Starts a loopback venue and a loopback stand-in for the model, trades two live cycles through the
    Dagster job, backtests a day, and writes a report.
    """
    from wonttrade_dagster.cli.demo import run_demo

    run_demo(data_dir, seed=seed, as_json=json)


@app.command()
def check(config: Config = DEFAULT_CONFIG, json: Json = False) -> int:
    """Preflight: configuration, venue, account, signer, clock and model. Sends no order."""
    from wonttrade_dagster.cli.check import run_check

    return run_check(config, as_json=json)


@app.command()
def up(
    config: Config = DEFAULT_CONFIG,
    port: Annotated[int, typer.Option(help="Port of the Dagster UI on 127.0.0.1.")] = 3000,
) -> int:
    """The live system: Dagster's UI and daemon, and the sensor that requests each cycle."""
    from wonttrade_dagster.cli.up import run_up

    return run_up(config, port)


@app.command()
def backtest(
    first_day: FromDay = None,
    last_day: ToDay = None,
    resume: Annotated[
        str | None, typer.Option("--resume", help="Go on with an interrupted backtest.", metavar="ID")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Another model than llm.model.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Another prompt than llm.prompt.")] = None,
    cycle_minutes: Annotated[int | None, typer.Option(min=1, help="Another cadence.")] = None,
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Replay past days with simulated execution and a real model call in every cycle."""
    from wonttrade_dagster.cli.backtest import (
        BacktestRequest,
        resume_backtest_command,
        run_backtest_command,
    )

    if resume is not None:
        if any(option is not None for option in (first_day, last_day, model, prompt, cycle_minutes)):
            raise UsageError("--resume goes on as it was begun: leave the other options out")
        resume_backtest_command(config, resume, as_json=json)
        return
    if first_day is None or last_day is None:
        raise UsageError("give --from and --to (both UTC days, included), or --resume ID")
    request = BacktestRequest(first_day, last_day, model, prompt, cycle_minutes)
    run_backtest_command(config, request, as_json=json)


@history_app.command("import")
def history_import(
    files: Annotated[
        list[Path], typer.Argument(help="Parquet, CSV or Feather files, or folders of them.", metavar="FILE…")
    ],
    config: Config = DEFAULT_CONFIG,
    replace: Replace = False,
    time_unit: Annotated[TimeUnit | None, typer.Option(help="Unit of times that are numbers.")] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Zone of times that name none, like Europe/Berlin.")
    ] = None,
    json: Json = False,
) -> None:
    """Import candles, funding and open interest from files. Importing twice changes nothing."""
    from wonttrade_dagster.adapters.history_columns import StatedTimes
    from wonttrade_dagster.cli.history import run_import

    run_import(config, files, replace=replace, stated=StatedTimes(time_unit, timezone), as_json=json)


@history_app.command("sync")
def history_sync(
    first_day: FromDay = None,
    last_day: ToDay = None,
    symbols: Symbols = None,
    config: Config = DEFAULT_CONFIG,
    replace: Replace = False,
    json: Json = False,
) -> None:
    """Fetch candles, funding and open interest from the venue. Without --from: what is missing."""
    from wonttrade_dagster.cli.history import Range, run_sync

    run_sync(config, Range.of(symbols, first_day, last_day), replace=replace, as_json=json)


@history_app.command("gaps")
def history_gaps(
    first_day: FromDay = None,
    last_day: ToDay = None,
    symbols: Symbols = None,
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """List what is missing, and whether the venue still has it. Without --from: between what is stored."""
    from wonttrade_dagster.cli.history import Range, run_gaps

    run_gaps(config, Range.of(symbols, first_day, last_day), as_json=json)


@history_app.command("export")
def history_export(
    folder: Annotated[Path, typer.Argument(help="Where the Parquet files go.", metavar="DIR")],
    first_day: FromDay = None,
    last_day: ToDay = None,
    symbols: Symbols = None,
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Write the stored series as Parquet files that an import takes back as they were."""
    from wonttrade_dagster.cli.history import Range, run_export

    run_export(config, folder, Range.of(symbols, first_day, last_day), as_json=json)


@app.command()
def report(
    backtest_id: Annotated[str, typer.Argument(help="The id that wonttrade backtest printed.", metavar="ID")],
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Show the summary of a backtest and where its report is."""
    from wonttrade_dagster.cli.report import show_report

    show_report(config, backtest_id, as_json=json)


@app.command()
def explain(
    cycle: Annotated[str, CYCLE],
    backtest_id: BacktestId = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write the story as a page.")] = None,
    prompt: Annotated[bool, typer.Option("--prompt", help="Show the prompt's text as well.")] = False,
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """One cycle as a story: what was seen, asked, answered, judged, planned, sent, and what it was worth."""
    from wonttrade_dagster.cli.explain import run_explain

    run_explain(config, cycle, backtest_id, html=html, with_prompt=prompt, as_json=json)


@app.command()
def replay(
    cycle: Annotated[str | None, CYCLE] = None,
    every: Annotated[bool, typer.Option("--all", help="Every stored cycle, with counts.")] = False,
    backtest_id: BacktestId = None,
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
) -> int:
    """Compute stored cycles again, without model or venue; exit code 1 when a byte differs."""
    from wonttrade_dagster.cli.replay import run_replay

    return run_replay(config, cycle, backtest_id, every=every, as_json=json)


@app.command()
def status(config: Config = DEFAULT_CONFIG, json: Json = False) -> None:
    """What the live system did last: heartbeat, last cycle, positions and their protection."""
    from wonttrade_dagster.cli.status import show_status

    show_status(config, as_json=json)


@app.command()
def sql(
    query: Annotated[
        str, typer.Argument(help="One SELECT over the views that docs/history.md lists.", metavar="SELECT")
    ],
    backtest_id: BacktestId = None,
    shown_as: Annotated[Format, typer.Option("--format", help="How rows are printed.")] = "table",
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Query candles, cycles, decisions, orders, fills and equity while it trades; nothing can be written."""
    from wonttrade_dagster.cli.sql import run_sql

    run_sql(config, query, backtest_id, "json" if json else shown_as)


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(help="Port of the loopback venue; 0 picks one.")] = 8600,
    model_port: Annotated[int, typer.Option(help="Port of the loopback model server; 0 picks one.")] = 8601,
    seed: Seed = 7,
    model_latency_ms: Annotated[int, typer.Option(help="How long the stand-in thinks.")] = 0,
    rate_limits: Annotated[bool, typer.Option("--rate-limits", help="Enforce the venue's limits.")] = False,
    candles: Annotated[
        list[Path] | None, typer.Option(help="Recorded candles and funding to replay; repeatable.")
    ] = None,
    script: Annotated[Path | None, typer.Option(help="A JSON file of price moves.")] = None,
    state: Annotated[Path | None, typer.Option(help="Keep the venue's state in this file.")] = None,
) -> None:
    """The loopback venue and the loopback model server alone; prints one JSON line when ready."""
    from wonttrade_dagster.sandbox.server import SandboxOptions, run_sandbox

    run_sandbox(
        SandboxOptions(
            port=port,
            model_port=model_port,
            seed=seed,
            model_latency_ms=model_latency_ms,
            rate_limits=rate_limits,
            candles=candles or (),
            script=script,
            state_path=state,
        )
    )
