"""Bad input on the command line: one clear sentence, exit code 1 or 2, no traceback, nothing lost."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl
import pytest
from loopback import CANARIES, DAY_MS, MINUTE_MS, Loopback, generated_history, spellings, wave, write_config

from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.cli.app import run
from wonttrade_dagster.settings import load_settings

CLOSED = "http://127.0.0.1:9"
"""Nothing listens on the discard port."""
FIRST_MS = 1_748_736_000_000  # 2025-06-01
COMMANDS = {
    "check": ["check"],
    "up": ["up"],
    "backtest": ["backtest", "--from", "2025-06-01", "--to", "2025-06-01"],
    "import": ["history", "import", "candles.parquet"],
    "report": ["report", "some-id"],
    "status": ["status"],
}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    def fails(self, code: int, *words: str) -> None:
        """With that code, all those words in its output, no traceback, and no secret."""
        both = self.out + self.err
        assert self.code == code, both
        assert [word for word in words if word not in both] == [], both
        assert "Traceback" not in both
        assert "nanobind" not in both
        assert not [n for c in CANARIES for n in spellings(c) if n in both.encode()]

    def sentence(self, code: int, *words: str) -> None:
        """As ``fails``, in one line that names the program."""
        self.fails(code, *words)
        lines = [line for line in self.err.splitlines() if line.startswith("wonttrade: ")]
        assert len(lines) == 1, self.err


class Command(Protocol):
    """``wonttrade`` in this process."""

    def __call__(self, *arguments: str | Path) -> Ended: ...


@pytest.fixture
def wonttrade(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str | Path) -> Ended:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return Ended(code, *capsys.readouterr())

    return command


@pytest.fixture(scope="module")
def loopback() -> Iterator[Loopback]:
    with Loopback.serving() as loopback:
        yield loopback


def broken(folder: Path, **changes: object) -> Path:
    """A settings file with some fields changed."""
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    return write_config(folder, CLOSED, f"{CLOSED}/v1", dotted)


# --- the settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_without_a_settings_file_every_command_says_where_to_get_one(
    wonttrade: Command, tmp_path: Path, arguments: Sequence[str]
) -> None:
    wonttrade(*arguments).sentence(2, str(tmp_path / "wonttrade.toml"), "copy wonttrade.toml.example")


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_every_error_of_the_settings_is_listed_at_once(
    wonttrade: Command, tmp_path: Path, arguments: Sequence[str]
) -> None:
    broken(tmp_path, runtime__cycle_minuts=5, risk__max_leverage="3")
    ended = wonttrade(*arguments)
    ended.fails(2, "2 errors", "runtime.cycle_minuts", "cycle_minutes (did you mean that?)")
    assert "risk.max_leverage" in ended.err


def test_live_without_its_second_yes_is_refused(wonttrade: Command, tmp_path: Path) -> None:
    broken(tmp_path, runtime__mode="LIVE", hyperliquid__network="mainnet", hyperliquid__base_url=None)
    wonttrade("check").fails(2, "runtime.live_account", "credentials.account_address")


def test_a_file_that_is_no_toml_names_its_line(wonttrade: Command, tmp_path: Path) -> None:
    (tmp_path / "wonttrade.toml").write_text("[runtime]\nmode = \n")
    wonttrade("status").sentence(2, "is not TOML", "line 2")


def test_a_canary_in_the_wrong_field_is_not_shown(wonttrade: Command, tmp_path: Path) -> None:
    broken(tmp_path, llm__model=7, credentials__account_address=CANARIES[0], llm__prompt=CANARIES[1])
    wonttrade("check").fails(2, "credentials.account_address")


# --- arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["backtest", "--from", "yesterday", "--to", "2025-06-01"], ["--from", "'yesterday'", "YYYY-MM-DD"]),
        (["backtest", "--from", "2025-06-02", "--to", "2025-06-01"], ["2025-06-02", "swap them"]),
        (["report", "nosuch"], ["no finished backtest nosuch", "known are none"]),
        (["history", "import", "nosuch.parquet"], ["nosuch.parquet"]),
    ],
)
def test_an_argument_that_cannot_be_names_itself(
    wonttrade: Command, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    broken(tmp_path)
    ended = wonttrade(*arguments)
    assert ended.code in {1, 2}
    ended.sentence(ended.code, *words)


@pytest.mark.parametrize("arguments", [["nosuch"], ["backtest"], ["check", "--nosuch"], ["history"], []])
def test_wrong_usage_ends_with_code_two(wonttrade: Command, arguments: list[str]) -> None:
    wonttrade(*arguments).fails(2)


def test_a_file_that_is_no_candle_file_is_refused_and_nothing_is_imported(
    wonttrade: Command, tmp_path: Path
) -> None:
    config = broken(tmp_path)
    frame = wave(100_000, FIRST_MS, FIRST_MS + DAY_MS, 5 * MINUTE_MS)
    good, bad = tmp_path / "BTC_5m.parquet", tmp_path / "ETH_5m.parquet"
    frame.write_parquet(good)
    bad.write_text("not parquet")
    wonttrade("history", "import", good, bad).sentence(1, "ETH_5m.parquet")
    assert MarketHistory(load_settings(config).data_dir / "market.duckdb").coverage().is_empty()


# --- history ---------------------------------------------------------------------------------------

DAY = ("backtest", "--from", "2025-06-01", "--to", "2025-06-01")


def test_a_backtest_without_any_candles_says_how_to_get_them(wonttrade: Command, tmp_path: Path) -> None:
    broken(tmp_path, runtime__mode="BACKTEST")
    wonttrade(*DAY).fails(1, "BTC", "wonttrade history import")


def test_a_day_without_candles_is_named(wonttrade: Command, tmp_path: Path) -> None:
    config = broken(tmp_path, runtime__mode="BACKTEST")
    generated_history(load_settings(config), FIRST_MS, 1)
    ended = wonttrade("backtest", "--from", "2025-06-01", "--to", "2025-06-02")
    ended.fails(1, "BTC", "ETH", "2025-06-02", "wonttrade history import")
    assert not (tmp_path / "data" / "backtests").exists()


def test_a_gap_inside_the_window_is_named_with_its_first_candle(wonttrade: Command, tmp_path: Path) -> None:
    config = broken(tmp_path, runtime__mode="BACKTEST")
    settings = load_settings(config)
    history = MarketHistory(settings.data_dir / "market.duckdb")
    from_ms = FIRST_MS - 25 * DAY_MS
    gap = pl.col("open_time_ms").is_between(FIRST_MS + 3_600_000, FIRST_MS + 7_200_000, closed="left")
    for symbol in ("BTC", "ETH"):
        for interval, minutes in (("5m", 5), ("4h", 240)):
            frame = wave(4_000, from_ms, FIRST_MS + DAY_MS, minutes * MINUTE_MS)
            holed = frame.filter(~gap) if (symbol, interval) == ("ETH", "5m") else frame
            history.add_candles(symbol, interval, holed, "test")
    wonttrade(*DAY).fails(1, "ETH 5m", "2025-06-01 01:00", "12 candles", "history import")


def test_a_history_held_open_by_another_process_is_one_sentence_for_backtest_and_import(
    wonttrade: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MarketHistory.__init__, "__defaults__", (0.5,))  # patience, 10 s by default
    config = broken(tmp_path, runtime__mode="BACKTEST")
    settings = load_settings(config)
    generated_history(settings, FIRST_MS, 1)
    database = settings.data_dir / "market.duckdb"
    stored = MarketHistory(database).coverage()
    candles = tmp_path / "BTC_5m.parquet"
    wave(100_000, FIRST_MS, FIRST_MS + DAY_MS, 5 * MINUTE_MS).write_parquet(candles)
    with held_open(database) as process:
        for arguments in (DAY, ("history", "import", candles)):
            wonttrade(*arguments).sentence(1, str(database), f"process {process.pid}", "close the session")
    assert MarketHistory(database).coverage().equals(stored)


@contextmanager
def held_open(database: Path) -> Iterator["subprocess.Popen[str]"]:
    """A real process that has the file open for writing, as a DuckDB shell has."""
    program = f"""
import sys, duckdb
connection = duckdb.connect({str(database)!r})
print("held", flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "held"
        try:
            yield process
        finally:
            process.communicate("", timeout=20)


# --- venue and model -------------------------------------------------------------------------------


def test_check_is_content_with_the_loopback_system(
    wonttrade: Command, loopback: Loopback, tmp_path: Path
) -> None:
    loopback.config(tmp_path)
    ended = wonttrade("check")
    assert ended.code == 0, ended.out + ended.err


def test_check_names_a_symbol_that_the_venue_does_not_list(
    wonttrade: Command, loopback: Loopback, tmp_path: Path
) -> None:
    loopback.config(tmp_path, symbols__tracked=["BTC", "NOSUCH"])
    wonttrade("check").fails(1, "problem  symbols", "NOSUCH", "change symbols.tracked")


def test_check_names_a_model_server_that_is_down(
    wonttrade: Command, loopback: Loopback, tmp_path: Path
) -> None:
    loopback.config(tmp_path, llm__base_url=f"{CLOSED}/v1", llm__deadline_seconds=2)
    ended = wonttrade("check")
    ended.fails(1, "problem  model", "127.0.0.1:9 cannot be reached", "start it", "[llm]")
    assert ended.out.count("problem") == 1


def test_check_asks_the_rest_when_the_venue_is_down(
    wonttrade: Command, loopback: Loopback, tmp_path: Path
) -> None:
    loopback.config(tmp_path, hyperliquid__base_url=CLOSED)
    ended = wonttrade("check")
    ended.fails(1, "problem  symbols", "problem  account", CLOSED)
    assert "      ok  model" in ended.out


def test_check_names_an_account_that_does_not_know_the_key(
    wonttrade: Command, loopback: Loopback, tmp_path: Path
) -> None:
    loopback.config(tmp_path, credentials__agent_private_key="0x" + "ab" * 32)
    wonttrade("check").fails(1, "problem  signer", "approve it as an agent")


def test_check_names_an_empty_account(wonttrade: Command, loopback: Loopback, tmp_path: Path) -> None:
    loopback.config(tmp_path, credentials__account_address="0x" + "12" * 20)
    wonttrade("check").fails(1, "problem  account", "deposit")


def test_check_names_a_venue_that_answers_nonsense(
    wonttrade: Command, loopback: Loopback, tmp_path: Path
) -> None:
    loopback.config(tmp_path)
    loopback.venue("faults", [{"on": "*", "kind": "html200", "times": 100}])
    ended = wonttrade("check")
    loopback.venue("faults", [])
    ended.fails(1, "problem  symbols", "problem  account", loopback.sandbox.venue_url)


def test_a_backtest_whose_model_server_is_down_ends_in_a_sentence_and_keeps_what_it_wrote(
    wonttrade: Command, tmp_path: Path
) -> None:
    config = broken(tmp_path, runtime__mode="BACKTEST", llm__deadline_seconds=2)
    generated_history(load_settings(config), FIRST_MS, 1)
    ended = wonttrade(*DAY)
    ended.sentence(1, "127.0.0.1:9 cannot be reached", "[llm]")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--cycle-minutes", "0"), ("--cycle-minutes", "greater than or equal to 1")),
        (("--model", ""), ("--model is empty",)),
        (("--prompt", ""), ("--prompt is empty",)),
        (("--from", "0001-01-01"), ("--from '0001-01-01'", "2001")),
        (("--to", "9999-12-31"), ("--to '9999-12-31'", "today")),
    ],
)
def test_an_option_of_a_backtest_that_means_nothing_is_refused(
    wonttrade: Command, tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    broken(tmp_path, runtime__mode="BACKTEST")
    wonttrade(*DAY, *options).fails(2, *words)


def test_a_model_whose_server_answers_with_a_web_page_ends_the_backtest(
    wonttrade: Command, tmp_path: Path, loopback: Loopback
) -> None:
    """It was finished with every cycle refused, and could not go on any more."""
    config = loopback.config(tmp_path, runtime__mode="BACKTEST")
    generated_history(load_settings(config), FIRST_MS, 1)
    loopback.model("faults", [{"kind": "malformed", "times": 99}])
    ended = wonttrade(*DAY)
    loopback.model("faults", [])
    ended.sentence(1, "is not JSON", "the backtest ended")


def test_a_price_that_jumps_is_told_by_the_report(
    wonttrade: Command, tmp_path: Path, loopback: Loopback
) -> None:
    config = loopback.config(tmp_path, runtime__mode="BACKTEST")
    settings = load_settings(config)
    generated_history(settings, FIRST_MS, 1)
    history = MarketHistory.of(settings.data_dir)
    one = history.candles("ETH", "5m", FIRST_MS, FIRST_MS + 5 * MINUTE_MS)
    history.add_candles("ETH", "5m", one.with_columns(high=pl.col("high") * 10), "test", replace=True)
    ended = wonttrade(*DAY, "--json")
    assert ended.code == 0, ended.err
    told = [each for each in json.loads(ended.out)["summary"]["caveats"] if "jumps" in each]
    assert len(told) == 1
    assert "ETH: the price jumps by more than 50%" in told[0]
    assert "1 times, first at 2025-06-01 00:00 UTC" in told[0]


@pytest.mark.parametrize("damaged", ["dagster", "dagster/history/runs.db"])
def test_a_dagster_folder_that_takes_nothing_is_one_sentence(
    wonttrade: Command, tmp_path: Path, loopback: Loopback, damaged: str
) -> None:
    config = loopback.config(tmp_path, runtime__mode="BACKTEST")
    settings = load_settings(config)
    generated_history(settings, FIRST_MS, 1)
    path = settings.data_dir / damaged
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not what it was" * 99)
    wonttrade(*DAY).sentence(1, str(settings.data_dir / "dagster"), "free the disk")


# --- the console script ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [(["status"], 2, "copy wonttrade.toml.example"), (["nosuch"], 2, "nosuch")],
)
def test_the_installed_command_itself_ends_in_a_sentence(
    tmp_path: Path, arguments: list[str], code: int, word: str
) -> None:
    program = "from wonttrade_dagster.cli import main; main()"
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    Ended(done.returncode, done.stdout, done.stderr).fails(code, word)
