"""Column types as text and back, so that a layout can say with which type a column passes through."""

from __future__ import annotations

import json
import re
from functools import cache

import pyarrow as pa

from pipeline.records import Kind

_PLAIN = {"text": "string", "large_string": "string", "string_view": "string", "large_binary": "binary"}
_PLAIN |= {"binary_view": "binary", "bool_": "bool", "float64": "double", "float32": "float", "float16": "halffloat"}
_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[A-Za-z_]\w*(?:\[[^\]]*\])?|-?\d+|[<>:,()\[\]])')


def is_list(type: pa.DataType) -> bool:
    """Whether it is one of the list types, of any length or a fixed one."""
    return isinstance(type, pa.ListType | pa.LargeListType | pa.FixedSizeListType)


def kind_of(type: pa.DataType) -> Kind | None:
    """How a column of this type passes through; ``None`` for types that an output cannot hold."""
    if isinstance(type, pa.BaseExtensionType):
        return kind_of(type.storage_type)
    if pa.types.is_struct(type):
        if is_picture_struct(type):
            return "binary"
        fields = [(type.field(n).name, kind_of(type.field(n).type)) for n in range(type.num_fields)]
        if not fields or any(kind is None for _, kind in fields):
            return None
        return f"struct<{', '.join(f'{json.dumps(name)}: {kind}' for name, kind in fields)}>"
    if pa.types.is_map(type):
        key, item = kind_of(type.key_type), kind_of(type.item_type)
        return None if key is None or item is None else f"map<{key}, {item}>"
    if pa.types.is_dictionary(type):
        value, index = kind_of(type.value_type), kind_of(type.index_type)
        ordered = ", ordered" if type.ordered else ""
        return None if value is None else f"dictionary<{value}, {index}{ordered}>"
    if is_list(type):
        item = kind_of(type.value_type)
        size = f"[{type.list_size}]" if isinstance(type, pa.FixedSizeListType) else ""
        return None if item is None else f"list<{item}>{size}"
    if pa.types.is_null(type) or pa.types.is_interval(type):
        return None
    text = str(type)
    text = _PLAIN.get(text, text)
    try:
        return text if type_of(text) == type or text in _PLAIN.values() else None
    except ValueError:
        return None


def is_picture_struct(type: pa.DataType) -> bool:
    """Whether the column is one of pictures as Hugging Face stores them: ``{bytes, path}``."""
    return pa.types.is_struct(type) and {type.field(n).name for n in range(type.num_fields)} == {"bytes", "path"}


@cache
def type_of(kind: Kind) -> pa.DataType:
    """The Arrow type that a kind stands for. Raises ValueError for text that is none."""
    tokens = _TOKEN.findall(kind)
    if "".join(tokens).replace(" ", "") != re.sub(r"\s", "", kind):
        raise ValueError(f"'{kind}' is no column type")
    type = _parse(tokens, kind)
    if tokens:
        raise ValueError(f"'{kind}' is no column type")
    return type


def _parse(tokens: list[str], kind: str) -> pa.DataType:
    def take(wanted: str | None = None) -> str:
        token = tokens.pop(0) if tokens else ""
        if not token or (wanted is not None and token != wanted):
            raise ValueError(f"'{kind}' is no column type")
        return token

    name = take()
    if name in ("list", "map", "dictionary", "struct") and tokens[:1] == ["<"]:
        take("<")
        if name == "struct":
            fields = []
            while True:
                label = take()
                take(":")
                fields.append((json.loads(label) if label.startswith('"') else label, _parse(tokens, kind)))
                if take() == ">":
                    return pa.struct(fields)
        first = _parse(tokens, kind)
        if name == "list":
            take(">")
            if tokens[:1] != ["["]:
                return pa.list_(first)
            take("[")
            size = int(take())
            take("]")
            return pa.list_(first, size)
        take(",")
        second = _parse(tokens, kind)
        ordered = name == "dictionary" and tokens[:2] == [",", "ordered"]
        if ordered:
            del tokens[:2]
        take(">")
        return pa.map_(first, second) if name == "map" else pa.dictionary(second, first, ordered)
    if name.startswith("decimal") and tokens[:1] == ["("]:
        take("(")
        precision = int(take())
        take(",")
        scale = int(take())
        take(")")
        return pa.decimal256(precision, scale) if name == "decimal256" else pa.decimal128(precision, scale)
    zoned = re.fullmatch(r"timestamp\[(s|ms|us|ns), ?tz=([^\]]+)\]", name)
    if zoned:
        return pa.timestamp(zoned.group(1), zoned.group(2))
    fixed = re.fullmatch(r"fixed_size_binary\[(\d+)\]", name)
    if fixed:
        return pa.binary(int(fixed.group(1)))
    plain = {"date": "date32", "date32[day]": "date32", "date64[ms]": "date64", "timestamp": "timestamp[us]"}
    return pa.type_for_alias(plain.get(name, _PLAIN.get(name, name)))
