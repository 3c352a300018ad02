"""SavedModel folders (core/protobuf/saved_model.proto: field 1 version, field 2 MetaGraphDefs).

A SavedModel may hold several MetaGraphDefs; the one tagged ``train`` is opened, else the first.
The others, the variables and the assets are copied as they are.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from graphrev.io import wire
from graphrev.io.meta_graphs import Envelope, open_meta_graph

_VERSION, _META_GRAPH = 1, 2
_TRAIN = "train"


@dataclass(frozen=True)
class SavedModelFrame:
    """The rest of a SavedModel.

    Attributes:
        folder: where it was read from; variables and assets are copied from there.
        schema_version: the SavedModel's schema version.
        others: the serialized MetaGraphDefs, with ``None`` in the place of the one that was opened.
    """

    folder: Path
    schema_version: int
    others: tuple[bytes | None, ...]


def open_saved_model(data: bytes, folder: Path) -> tuple[bytes, Envelope, SavedModelFrame]:
    """The GraphDef bytes of the MetaGraphDef to rewrite, its envelope, and the rest.

    Raises:
        WireError: the bytes are no SavedModel.
    """
    version, metas = 0, list[bytes]()
    for number, _, value in wire.fields(data):
        if number == _VERSION:
            version = wire.signed(value)
        elif number == _META_GRAPH:
            metas.append(wire.chunk(value))
    if not metas:
        raise wire.WireError(len(data), "no MetaGraphDef in it")
    opened = [open_meta_graph(meta) for meta in metas]
    tagged = (i for i, (_, envelope) in enumerate(opened) if _TRAIN in envelope.tags)
    chosen = next(tagged, 0)
    others = tuple(None if i == chosen else meta for i, meta in enumerate(metas))
    graph, envelope = opened[chosen]
    return graph, envelope, SavedModelFrame(folder, version, others)


def encode_saved_model(meta_graph: bytes, frame: SavedModelFrame) -> bytes:
    """The SavedModel with ``meta_graph`` in the place of the one that was opened."""
    metas = (meta_graph if other is None else other for other in frame.others)
    head = wire.number_field(_VERSION, frame.schema_version) if frame.schema_version else b""
    return head + b"".join(wire.bytes_field(_META_GRAPH, meta) for meta in metas)


def copy_companions(frame: SavedModelFrame, target: Path) -> None:
    """Copies variables, assets and whatever else lies beside ``saved_model.pb``."""
    for entry in sorted(frame.folder.iterdir()):
        if entry.name == "saved_model.pb":
            continue
        if entry.is_dir():
            shutil.copytree(entry, target / entry.name, symlinks=True)
        else:
            shutil.copy2(entry, target / entry.name)
