"""Protobuf text <-> bytes for GraphDef and MetaGraphDef."""

from __future__ import annotations

import re
from typing import Any

from graphrev.errors import InvalidInputError, printable
from graphrev.io.protos import light

_META_FIELD = re.compile(
    r"^(?:meta_info_def|graph_def|saver_def|collection_def|signature_def)\b", re.M
)
_SAVED_MODEL_FIELD = re.compile(r"^(?:saved_model_schema_version|meta_graphs)\b", re.M)
_HEAD = 65_536


def is_meta_graph(text: str) -> bool:
    """Whether the text is a MetaGraphDef's (by the fields it starts with)."""
    return _META_FIELD.search(text[:_HEAD]) is not None


def is_saved_model(text: str) -> bool:
    """Whether the text is a SavedModel's."""
    return _SAVED_MODEL_FIELD.search(text[:_HEAD]) is not None


def parse(text: str, source: str, *, meta: bool) -> bytes:
    """The serialized message that ``text`` spells.

    Raises:
        InvalidInputError: a syntax error, with its line and column.
    """
    from google.protobuf import text_format

    message = _message(meta)
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        where = f"line {line}, column {column}" if line else "an unknown place"
        said = re.sub(r"^\d+:\d+\s*:\s*", "", str(error))
        raise InvalidInputError(
            f"'{printable(source)}' is no protobuf text of a "
            f"{'MetaGraphDef' if meta else 'GraphDef'}: {where}: {printable(said, 200)}. "
            "Correct the text there, or export the graph again."
        ) from None
    return message.SerializeToString(deterministic=True)


def spell(data: bytes, *, meta: bool) -> str:
    """The text of a serialized GraphDef or MetaGraphDef."""
    from google.protobuf import text_format

    message = _message(meta)
    message.ParseFromString(data)
    return text_format.MessageToString(message)


def _message(meta: bool) -> Any:
    return light("meta_graph_pb2").MetaGraphDef() if meta else light("graph_pb2").GraphDef()
