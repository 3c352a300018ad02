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

VARIABLES = "variables"
"""The folder of the checkpoint."""
_VERSION, _META_GRAPH = 1, 2
_TRAIN = "train"


@dataclass(frozen=True)
class SavedModelFrame:
    """The rest of a SavedModel.

    Attributes:
        folder: where it was read from; variables and assets are copied from there.
        fields: the fields of the SavedModel, with ``None`` in the place of the MetaGraphDef that
            was opened.
    """

    folder: Path
    fields: tuple[wire.Field | None, ...]

    @property
    def variables(self) -> str | None:
        """The prefix of the checkpoint of its variables; ``None`` where it has no variables."""
        prefix = self.folder / VARIABLES / "variables"
        return str(prefix) if prefix.with_name("variables.index").is_file() else None

    @property
    def others(self) -> int:
        """How many more MetaGraphDefs it holds; all of them read the same variables."""
        return sum(field is not None and field[0] == _META_GRAPH for field in self.fields)


def open_saved_model(data: bytes, folder: Path) -> tuple[bytes, Envelope, SavedModelFrame]:
    """The GraphDef bytes of the MetaGraphDef to rewrite, its envelope, and the rest.

    Raises:
        WireError: the bytes are no SavedModel.
    """
    fields: list[wire.Field | None] = list(wire.fields(data))
    opened: dict[int, tuple[bytes, Envelope]] = {}
    for place, (number, _, value) in enumerate(wire.fields(data)):
        if number == _VERSION:
            wire.signed(value)
        elif number == _META_GRAPH:
            opened[place] = open_meta_graph(wire.chunk(value))
    if not opened:
        raise wire.WireError(len(data), "no MetaGraphDef in it")
    tagged = (place for place, (_, envelope) in opened.items() if _TRAIN in envelope.tags)
    chosen = next(tagged, next(iter(opened)))
    fields[chosen] = None
    graph, envelope = opened[chosen]
    return graph, envelope, SavedModelFrame(folder, tuple(fields))


def encode_saved_model(meta_graph: bytes, frame: SavedModelFrame) -> bytes:
    """The SavedModel with ``meta_graph`` in the place of the one that was opened."""
    return b"".join(
        wire.bytes_field(_META_GRAPH, meta_graph) if field is None else wire.encode_field(field)
        for field in frame.fields
    )


def copy_companions(frame: SavedModelFrame, target: Path, *, variables: bool = True) -> None:
    """Copies variables, assets and whatever else lies beside ``saved_model.pb``.

    Args:
        variables: whether the variables are copied, too.
    """
    left = {"saved_model.pb"} if variables else {"saved_model.pb", VARIABLES}
    for entry in sorted(frame.folder.iterdir()):
        if entry.name in left:
            continue
        if entry.is_dir():
            shutil.copytree(entry, target / entry.name, symlinks=True)
        else:
            shutil.copy2(entry, target / entry.name)
