"""Records to JSON and back, exactly.

Belongs here: how a frozen record of ``core.model`` becomes bytes and returns equal.
Does not belong here: where the bytes go.

pydantic reads the stdlib dataclasses as they are; ``FrameCodec`` teaches it polars frames, ``WindowCodec``
frames that are held as plain columns.
Decimals travel as strings, frames as columns of full-precision floats; NaN and infinities are refused.
"""

from functools import lru_cache
from typing import Any

import polars as pl
from pydantic import TypeAdapter
from pydantic_core import CoreSchema, core_schema

_INT64 = 2**63
_dtype_name = lru_cache(maxsize=64)(str)


class FrameCodec:
    """Marks a polars frame in an ``Annotated`` type so that pydantic stores it by columns."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:  # noqa: ANN401 (pydantic's signature)
        """Columns in, columns out."""
        return core_schema.no_info_plain_validator_function(
            cls.decode, serialization=core_schema.plain_serializer_function_ser_schema(cls.encode)
        )

    @staticmethod
    def encode(frame: pl.DataFrame) -> dict[str, Any]:
        """``{"schema": {column: dtype}, "columns": {column: [values]}}``."""
        names = frame.columns
        schema = dict(zip(names, map(_dtype_name, frame.dtypes), strict=True))
        return {"schema": schema, "columns": frame.to_dict(as_series=False)}

    @staticmethod
    def decode(value: Any) -> pl.DataFrame:  # noqa: ANN401 (whatever the JSON held)
        """The inverse of :meth:`encode`; a frame passes through."""
        if isinstance(value, pl.DataFrame):
            return value
        schema = {name: getattr(pl, dtype) for name, dtype in value["schema"].items()}
        return pl.DataFrame(value["columns"], schema=schema)


class WindowCodec:
    """Marks a record of plain ``columns``, so that it is stored as the frame that it was cut from."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:  # noqa: ANN401 (pydantic's signature)
        """``source`` is made from its columns alone."""

        def decode(value: Any) -> Any:  # noqa: ANN401 (whatever the JSON held; a ``source``)
            return value if isinstance(value, source) else source(_numbers(value["columns"]))

        return core_schema.no_info_plain_validator_function(
            decode, serialization=core_schema.plain_serializer_function_ser_schema(cls.encode)
        )

    @staticmethod
    def encode(window: Any) -> dict[str, Any]:  # noqa: ANN401 (a record with columns)
        """As :meth:`FrameCodec.encode`: times are whole numbers, everything else is a float."""
        schema = {name: "Int64" if name.endswith("_ms") else "Float64" for name in window.columns}
        return {"schema": schema, "columns": dict(window.columns)}


def _numbers(columns: Any) -> dict[str, tuple[float | None, ...]]:  # noqa: ANN401 (whatever the JSON held)
    """Columns of one length that hold numbers and nulls; anything else is no record of ours."""
    is_listed = isinstance(columns, dict) and all(isinstance(each, list | tuple) for each in columns.values())
    if not is_listed or not all(all(map(_is_number_or_null, values)) for values in columns.values()):
        raise ValueError("columns of a window must hold numbers")
    if len({len(values) for values in columns.values()}) > 1:
        raise ValueError("columns of a window must have one length")
    return {name: tuple(values) for name, values in columns.items()}


def _is_number_or_null(value: object) -> bool:
    return value is None or type(value) is float or (type(value) is int and abs(value) < _INT64)


@lru_cache(maxsize=64)
def adapter_of(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401 (a type or a union of types)
    """Pydantic's view of a record's type, made once."""
    return TypeAdapter(kind)


def encode(record: object, kind: Any = None) -> bytes:  # noqa: ANN401 (a type or a union of types)
    """JSON bytes of ``record``; pass ``kind`` where the type is a union."""
    key: Any = type(record) if kind is None else kind
    return adapter_of(key).dump_json(record)


def jsonable(record: object, kind: Any = None) -> Any:  # noqa: ANN401 (a type or a union of types; JSON)
    """What parsing :func:`encode`'s bytes gives, without the bytes between."""
    key: Any = type(record) if kind is None else kind
    return adapter_of(key).dump_python(record, mode="json")


def decode(kind: Any, data: bytes | str) -> Any:  # noqa: ANN401 (kind may be a union, which is no type)
    """The record that :func:`encode` was given; raises ``pydantic.ValidationError`` for anything else."""
    return adapter_of(kind).validate_json(data)
