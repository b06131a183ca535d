"""The common type of one column in several files: kept exactly, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import MAX_DECIMAL128, MAX_DECIMAL256, from_arrow, to_arrow

if TYPE_CHECKING:
    import pyarrow as pa

    from ematix_nb.declare.data_types import DataType


def normal(arrow: pa.DataType) -> pa.DataType:
    """The Arrow type in which a file's column travels: views, dictionaries and coarse times in their plain form.

    Raises:
        ValueError: When no column type can hold it.
    """
    return to_arrow(from_arrow(arrow))


def wider(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:  # noqa: PLR0911 - one per family of types
    """The smallest type that holds the values of both exactly; None when there is none."""
    import pyarrow as pa
    import pyarrow.types as pt

    if left.equals(right):
        return left
    if pt.is_null(left) or pt.is_null(right):
        return right if pt.is_null(left) else left
    if pt.is_integer(left) and pt.is_integer(right):
        return _integers(left, right)
    if pt.is_floating(left) and pt.is_floating(right):
        return pa.float64()
    if pt.is_decimal(left) and pt.is_decimal(right):
        scale = max(left.scale, right.scale)
        digits = max(left.precision - left.scale, right.precision - right.scale) + scale
        if digits > MAX_DECIMAL256:
            return None
        return pa.decimal128(digits, scale) if digits <= MAX_DECIMAL128 else pa.decimal256(digits, scale)
    if pt.is_list(left) and pt.is_list(right):
        inner = wider(left.value_type, right.value_type)
        return None if inner is None else pa.list_(inner)
    if pt.is_struct(left) and pt.is_struct(right):
        return _structs(left, right)
    return None


def _integers(left: Any, right: Any) -> pa.DataType | None:
    import pyarrow as pa
    import pyarrow.types as pt

    signed = [kind for kind in (left, right) if pt.is_signed_integer(kind)]
    if len(signed) != 1:
        return left if left.bit_width >= right.bit_width else right
    unsigned = right if signed[0] is left else left
    bits = max(signed[0].bit_width, unsigned.bit_width * 2)
    return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}.get(bits)


def _structs(left: Any, right: Any) -> pa.DataType | None:
    import pyarrow as pa

    fields: dict[str, pa.DataType] = {inner.name: inner.type for inner in left}
    for inner in right:
        common = wider(fields[inner.name], inner.type) if inner.name in fields else inner.type
        if common is None:
            return None
        fields[inner.name] = common
    return pa.struct(list(fields.items()))


def restored(declared: DataType, arrow: pa.DataType) -> DataType:
    """The declared type when values of it travel in this Arrow type, else what the Arrow type stands for."""
    return declared if to_arrow(declared).equals(arrow) else from_arrow(arrow)
