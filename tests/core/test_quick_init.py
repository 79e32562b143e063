"""``quick_init`` makes what ``dataclass`` makes."""

import inspect
from dataclasses import FrozenInstanceError, InitVar, dataclass, field
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wonttrade_dagster.core.quick_init import quick_init


def record() -> type[Any]:
    @dataclass(frozen=True, slots=True)
    class Record:
        """With what a record may have: defaults, made ones too, and a check."""

        a: int
        b: str = "b"
        c: dict[str, int] = field(default_factory=dict)

        def __post_init__(self) -> None:
            """Refuses as a record may."""
            if self.a < 0:
                raise ValueError("a is negative")

    return Record


Plain, Quick = record(), quick_init(record())


def _made(kind: type[Any], args: tuple[object, ...], named: dict[str, object]) -> object:
    try:
        made = kind(*args, **named)
    except (TypeError, ValueError) as error:
        return str(error)
    return repr(made)


@given(
    args=st.lists(st.integers(-3, 3), max_size=4).map(tuple),
    named=st.dictionaries(st.sampled_from(("a", "b", "c", "d")), st.integers(-3, 3)),
)
def test_whatever_it_is_given_it_makes_or_refuses_the_same(
    args: tuple[object, ...], named: dict[str, object]
) -> None:
    assert _made(Quick, args, named) == _made(Plain, args, named)


def test_what_is_made_anew_is_shared_by_no_two() -> None:
    assert Quick(1).c == {}
    assert Quick(1).c is not Quick(1).c


def test_its_signature_tells_the_types_as_before() -> None:
    assert inspect.signature(Quick) == inspect.signature(Plain)
    assert get_type_hints(Quick.__init__) == get_type_hints(Plain.__init__)


def test_it_stays_frozen_equal_and_hashable_as_before() -> None:
    made = Quick(1, "x", {})
    with pytest.raises(FrozenInstanceError):
        made.a = 2  # type: ignore[misc]
    assert made == Quick(1, "x", {})
    assert made != Quick(2, "x", {})


@pytest.mark.parametrize("options", [{"slots": False}, {"slots": True, "kw_only": True}])
def test_other_classes_are_refused(options: dict[str, Any]) -> None:
    class Record:
        """A field that is no positional one in a slot."""

        a: int

    with pytest.raises(TypeError, match="Record is not made of positional fields in slots of its own"):
        quick_init(dataclass(frozen=True, **options)(Record))


def test_a_class_that_is_given_more_than_its_fields_or_makes_no_init_is_refused() -> None:
    class Given:
        """What is handed to ``__post_init__`` alone would be lost."""

        a: int
        b: InitVar[int] = 0

    class Bare:
        """Made by hand."""

        a: int

    with pytest.raises(TypeError, match="Given is not made of positional fields"):
        quick_init(dataclass(frozen=True, slots=True)(Given))
    with pytest.raises(TypeError, match="Bare is not made of positional fields"):
        quick_init(dataclass(frozen=True, slots=True, init=False)(Bare))
