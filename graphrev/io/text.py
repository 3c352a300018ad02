"""Protobuf text <-> bytes for GraphDef and MetaGraphDef."""

from __future__ import annotations

import re
from typing import Any

from graphrev.errors import InvalidInputError, UsageError, printable
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


def spell(data: bytes, target: str, *, meta: bool) -> str:
    """The text of a serialized GraphDef or MetaGraphDef.

    Raises:
        UsageError: it holds fields that have no name here, which text would lose.
        InvalidInputError: a part that was kept unread is damaged.
    """
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError

    message, known, binary = _message(meta), _message(meta), ".meta" if meta else ".pb"
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise InvalidInputError(
            f"'{printable(target)}' cannot be written as text: an attribute or a collection of the "
            f"input is damaged ({printable(str(error))}). Export the graph again."
        ) from None
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    if known.ByteSize() != message.ByteSize():
        raise UsageError(
            f"'{printable(target)}': the graph holds fields of a later TensorFlow, which text "
            f"cannot spell. Write a binary {binary}."
        )
    return text_format.MessageToString(message)


def _message(meta: bool) -> Any:
    return light("meta_graph_pb2").MetaGraphDef() if meta else light("graph_pb2").GraphDef()
