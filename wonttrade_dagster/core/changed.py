"""A record with some of its fields changed, as ``dataclasses.replace`` makes it, in a tenth of the time.

Belongs here: that one function. Does not belong here: what is changed and why.

A step of the simulated exchange makes some ten new records, a cycle some thirty, and finding out anew which
fields a class has took most of the time of a backtest without a model.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from wonttrade_dagster.core.quick_init import compiled, unfrozen

if TYPE_CHECKING:
    from dataclasses import replace  # the type checker knows this one, field by field
else:

    def replace(record: Any, /, **changes: Any) -> Any:  # noqa: ANN401 (typed above)
        """``record`` with ``changes``; every field must be one of ``__init__``. Raises ``TypeError``."""
        return _changers[record.__class__](record, changes)


Changer = Callable[[object, Mapping[str, object]], object]


class _Changers(dict[type, Changer]):
    """By class, each made when it is first asked for; a plain look-up takes a third of a ``cache``'s time."""

    def __missing__(self, cls: type) -> Changer:
        self[cls] = made = _changer(cls)
        return made


_changers = _Changers()


def _changer(cls: type) -> Changer:
    """Compiled for the class: what copies every field of a record and then sets those that change."""
    names = [field.name for field in fields(cls)]
    open_class = unfrozen(cls)
    if open_class is None or not all(field.init and not field.kw_only for field in fields(cls)):
        raise TypeError(f"{cls.__name__} is not made of its fields alone")
    lines = ["def changed(record, changes):", "    made = open_class()"]
    lines += [f"    made.{name} = record.{name}" for name in names]
    lines += [
        "    for name, value in changes.items():",
        "        if name not in names:",
        "            raise TypeError(f'{cls.__name__} has no field {name!r}')",
        "        setattr(made, name, value)",
        "    made.__class__ = cls",
        "    made.__post_init__()" if hasattr(cls, "__post_init__") else "",
        "    return made",
    ]
    scope: dict[str, Any] = {"cls": cls, "open_class": open_class, "names": frozenset(names)}
    changed: Changer = compiled(lines, scope)["changed"]
    return changed


__all__ = ["replace"]
