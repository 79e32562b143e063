"""``wonttrade history`` as it is typed: against the loopback venue, with real files."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from loopback import DAY_MS, MINUTE_MS, Loopback, instance_of, wave

from wonttrade_dagster.adapters.history import MarketHistory
from wonttrade_dagster.cli.app import run
from wonttrade_dagster.settings import load_settings

FIRST_MS = 1_748_736_000_000  # 2025-06-01
Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def loopback() -> Iterator[Loopback]:
    with Loopback.serving() as loopback:
        yield loopback


@pytest.fixture
def config(loopback: Loopback, tmp_path: Path) -> Path:
    # The venue draws every minute of 5,000 long candles when it is first asked for them.
    return loopback.config(tmp_path, hyperliquid__timeout_seconds=20)


@pytest.fixture
def ask(config: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a history command and read its JSON."""

    def asked(*arguments: str | Path) -> Any:
        capsys.readouterr()
        assert run(["history", *map(str, arguments), "--json", "--config", str(config)]) == 0
        return json.loads(capsys.readouterr().out)

    return asked


def stored(config: Path) -> MarketHistory:
    return MarketHistory.of(load_settings(config).data_dir)


def events(config: Path, asset: str) -> list[Any]:
    import dagster as dg

    with instance_of(load_settings(config)) as instance:
        records = instance.fetch_materializations(dg.AssetKey(["history", asset]), limit=50).records
        return [record.asset_materialization for record in records]


def test_sync_fills_every_series_of_the_tracked_symbols_and_tells_dagster_once(
    ask: Ask, config: Path
) -> None:
    done = ask("sync")
    assert [(row["symbol"], row["series"]) for row in done] == [
        ("BTC", "5m"),
        ("BTC", "4h"),
        ("ETH", "5m"),
        ("ETH", "4h"),
        ("BTC", "funding"),
        ("ETH", "funding"),
        ("BTC", "open_interest"),
        ("ETH", "open_interest"),
    ]
    assert all(row["new"] and not row["changed"] for row in done)
    told = events(config, "candles")
    assert len(told) == 1
    assert told[0].metadata["new_rows"].value == sum(row["new"] for row in done[:4])
    again = ask("sync")
    assert all(row["new"] <= 1 for row in again)
    found = ask("gaps")
    assert found["gaps"] == []
    assert {(row["symbol"], row["series"]) for row in found["series"]} == {
        (row["symbol"], row["series"]) for row in done
    }


def test_sync_of_one_day_and_symbol_stays_within_them(ask: Ask, config: Path) -> None:
    day = pl.Series([load_time() - DAY_MS]).cast(pl.Datetime("ms")).dt.strftime("%Y-%m-%d")[0]
    done = ask("sync", "--from", day, "--to", day, "--symbols", "SOL")
    assert [(r["symbol"], r["series"], r["new"]) for r in done] == [
        ("SOL", "5m", 288),
        ("SOL", "4h", 6),
        ("SOL", "funding", 24),
    ]
    assert all(row["first"].startswith(day) and row["last"].startswith(day) for row in done)


def load_time() -> int:
    import time

    return time.time_ns() // 1_000_000


def test_gaps_names_holes_and_whether_the_venue_has_them(ask: Ask, config: Path) -> None:
    candles = wave(100.0, FIRST_MS, FIRST_MS + DAY_MS, 5 * MINUTE_MS)
    holed = candles.filter(~pl.int_range(pl.len()).is_between(10, 12))
    stored(config).add_candles("BTC", "5m", holed, "test")
    found = ask("gaps", "--symbols", "BTC")
    assert found["gaps"] == [
        {
            "symbol": "BTC",
            "series": "5m",
            "first": "2025-06-01 00:50",
            "last": "2025-06-01 01:00",
            "count": 3,
            "at_venue": 0,
        }
    ]
    assert [(r["series"], r["rows"], r["missing"]) for r in found["series"]] == [
        ("5m", 285, 3),
        ("4h", 0, 0),
        ("funding", 0, 0),
    ]


def test_export_and_import_take_a_history_elsewhere(
    ask: Ask, config: Path, loopback: Loopback, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(config).add_candles("BTC", "5m", wave(100.0, FIRST_MS, FIRST_MS + DAY_MS, 5 * MINUTE_MS), "venue")
    (file,) = ask("export", tmp_path / "out")
    assert file["rows"] == 288
    elsewhere = loopback.config(tmp_path / "elsewhere")
    capsys.readouterr()
    assert run(["history", "import", file["file"], "--config", str(elsewhere)]) == 0
    assert "BTC" in capsys.readouterr().out
    assert stored(elsewhere).rows("BTC", "5m").equals(stored(config).rows("BTC", "5m"))
    assert len(events(elsewhere, "candles")) == 1
    assert run(["history", "import", file["file"], "--config", str(elsewhere)]) == 0
    assert len(events(elsewhere, "candles")) == 1, "an import that brought nothing is no event"


def test_a_folder_stands_for_the_files_directly_in_it(
    ask: Ask, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "files.csv"
    (folder / "deeper").mkdir(parents=True)
    (folder / "README.md").write_text("no history\n")
    capsys.readouterr()
    assert run(["history", "import", str(folder / "nosuch"), "--config", str(config)]) == 1
    assert "there is no such file" in capsys.readouterr().err.replace("\n", " ")
    assert run(["history", "import", str(folder), "--config", str(config)]) == 1
    assert "no Parquet, CSV or Feather file lies in this folder" in capsys.readouterr().err.replace("\n", " ")
    rows = "time_utc,open,high,low,close,volume\n2025-06-01 00:00,1,1,1,1,1\n2025-06-01 01:00,1,1,1,1,1\n"
    for name in ("ETH-1h.csv", "BTC-1h.CSV", "deeper/SOL-1h.csv"):
        (folder / name).write_text(rows)
    done = ask("import", folder)
    assert [Path(item["file"]).name for item in done] == ["BTC-1h.CSV", "ETH-1h.csv"]
    assert stored(config).candles("SOL", "1h").is_empty()


def test_a_zone_can_be_stated_where_a_file_does_not_say_it(ask: Ask, config: Path, tmp_path: Path) -> None:
    path = tmp_path / "BTC-1h.csv"
    path.write_text(
        "time,open,high,low,close,volume\n2025-06-01 02:00,1,1,1,1,1\n2025-06-01 03:00,1,1,1,1,1\n"
    )
    assert run(["history", "import", str(path), "--config", str(config)]) == 1
    assert not stored(config).path.exists()
    ask("import", path, "--timezone", "Europe/Berlin")
    assert stored(config).candles("BTC", "1h")["open_time_ms"].to_list() == [FIRST_MS, FIRST_MS + 3_600_000]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gaps", "--from", "yesterday"], "'yesterday' is no day"),
        (["sync", "--from", "2025-06-02", "--to", "2025-06-01"], "is later than --to"),
        (["export", "out"], "nothing is stored of that"),
        (["import", "x.csv", "--timezone", "Mars"], "'Mars' is no time zone"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    capsys.readouterr()
    assert run(["history", *arguments, "--config", str(config)]) == 2
    told = capsys.readouterr().err
    assert words in told.replace("\n", " ")
    assert "Traceback" not in told
