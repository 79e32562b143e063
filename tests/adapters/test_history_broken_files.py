"""Generated broken files, the short way; ``python -m bench history`` runs ten thousand."""

import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.history import BYTES, HARMFUL, HARMLESS, Verdict, attempt
from wonttrade_dagster.adapters.history import MarketHistory


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 40))
def test_a_damaged_file_is_refused_whole_or_imported_right(seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        history = MarketHistory(Path(name) / "data" / "market.duckdb")
        verdict = attempt(seed, random.Random(seed), Path(name), history)
    assert verdict.wrong == "", verdict


def test_the_referee_notices_what_must_not_be(tmp_path: Path) -> None:
    """A history that already holds the broken file's symbol makes a harmless import differ."""
    history = MarketHistory(tmp_path / "market.duckdb")
    found = list[Verdict]()
    for seed in range(40):
        verdict = attempt(1, random.Random(seed), tmp_path, history)
        found.append(verdict)
    wrong = [v for v in found if v.wrong]
    assert wrong, "the same symbols again and again: rows of earlier files are there"
    assert {v.outcome for v in wrong} == {"imported"}


def test_every_kind_of_damage_is_one_of_three() -> None:
    assert not set(HARMLESS) & set(HARMFUL)
    assert not set(BYTES) & (set(HARMLESS) | set(HARMFUL))
