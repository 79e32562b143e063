"""Frozen records that are made in half the time: a decorator over ``dataclass(frozen=True, slots=True)``.

Belongs here: that decorator. Does not belong here: which records are made so often that it pays.

A frozen dataclass sets each field through ``object.__setattr__``, which looks the slot up by its name. Some
hundred records of a dozen fields are made in a cycle, and some ten for each simulated order. Here an object
is of an unfrozen class with the same slots while its fields are set: plain assignments, which the
interpreter turns into stores, take a quarter of the time.
"""

from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from functools import WRAPPER_ASSIGNMENTS
from typing import Any, TypeVar

T = TypeVar("T")


def quick_init(cls: type[T]) -> type[T]:
    """``cls`` with an ``__init__`` of the same signature that sets its fields by plain assignments.

    Raises:
        TypeError: it is no dataclass made of positional fields in slots of its own.
    """
    told = fields(cls)  # type: ignore[arg-type]  # raises TypeError for what is no dataclass
    plain: Any = vars(cls).get("__init__")
    names = tuple(field.name for field in told)
    # An argument that is no field (an InitVar) would be lost; so would a value that has no slot of its own.
    if _arguments(plain) != names or unfrozen(cls) is None:
        raise TypeError(f"{cls.__name__} is not made of positional fields in slots of its own")
    defaults = plain.__defaults__ or ()
    made = _compiled(told, cls, dict(zip(reversed(names), reversed(defaults), strict=False)))
    for name in (*WRAPPER_ASSIGNMENTS, "__defaults__"):  # annotations, too: who builds records reads them
        setattr(made, name, getattr(plain, name))
    setattr(cls, "__init__", made)  # noqa: B010 (mypy forbids the plain assignment)
    return cls


def unfrozen(cls: type) -> type | None:
    """A class of the same slots whose objects may be changed, and may become one of ``cls`` by ``__class__``.

    None where ``cls`` does not keep its fields in slots of its own alone.
    """
    names = tuple(field.name for field in fields(cls))
    if cls.__bases__ != (object,) or vars(cls).get("__slots__") != names:
        return None
    return type(cls.__name__, (), {"__slots__": names})


def _arguments(plain: Any) -> tuple[str, ...] | None:  # noqa: ANN401 (a function)
    """The names of its positional arguments after ``self``; None where there are others, or no function."""
    code = getattr(plain, "__code__", None)
    if code is None or code.co_kwonlyargcount:
        return None
    names: tuple[str, ...] = code.co_varnames[1 : code.co_argcount]
    return names


def _compiled(told: tuple[Field[Any], ...], cls: type, defaults: dict[str, Any]) -> Any:  # noqa: ANN401 (a function)
    """Written as text and compiled, as dataclasses does it: a loop would cost what is saved."""
    lines = [f"def __init__(self, {', '.join(field.name for field in told)}):"]
    lines += ["    _class = self.__class__", "    _become(self, _unfrozen)"]
    scope: dict[str, Any] = {"_become": vars(object)["__class__"].__set__, "_unfrozen": unfrozen(cls)}
    for field in told:
        value = name = field.name
        if field.default_factory is not MISSING:  # then the default is a mark that says "not given"
            scope |= {f"make_{name}": field.default_factory, f"mark_{name}": defaults[name]}
            value = f"make_{name}() if {name} is mark_{name} else {name}"
        lines.append(f"    self.{name} = {value}")
    lines.append("    self.__class__ = _class")
    if hasattr(cls, "__post_init__"):
        lines.append("    self.__post_init__()")
    return compiled(lines, scope)["__init__"]


def compiled(lines: Sequence[str], scope: dict[str, Any]) -> dict[str, Any]:
    """``scope`` with what ``lines`` of Python define in it; they are made of the names of our own fields."""
    exec("\n".join(lines), scope)  # noqa: S102 (of nothing that came from outside)
    return scope
