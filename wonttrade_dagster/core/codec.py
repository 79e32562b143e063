"""Records to JSON and back, exactly.

Belongs here: how a frozen record of ``core.model`` becomes bytes and returns equal.
Does not belong here: where the bytes go.

pydantic reads the stdlib dataclasses as they are; ``FrameCodec`` teaches it polars frames.
Decimals travel as strings, frames as columns of full-precision floats; NaN and infinities are refused.
"""

from functools import lru_cache
from typing import Any

import polars as pl
from pydantic import TypeAdapter
from pydantic_core import CoreSchema, core_schema

_FEW_ROWS = 64
"""Up to here the rows in one call are quicker than the columns one by one."""

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
        if 0 < frame.height <= _FEW_ROWS:
            columns = zip(*frame.rows(), strict=True)
            return {"schema": schema, "columns": dict(zip(names, columns, strict=True))}
        return {"schema": schema, "columns": frame.to_dict(as_series=False)}

    @staticmethod
    def decode(value: Any) -> pl.DataFrame:  # noqa: ANN401 (whatever the JSON held)
        """The inverse of :meth:`encode`; a frame passes through."""
        if isinstance(value, pl.DataFrame):
            return value
        schema = {name: getattr(pl, dtype) for name, dtype in value["schema"].items()}
        return pl.DataFrame(value["columns"], schema=schema)


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
