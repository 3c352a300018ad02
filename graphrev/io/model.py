"""What a file holds beside its graph, kept so that it can be written back.

A :class:`Model` is a graph in its envelope: nothing for a GraphDef; collections, signatures, saver
and meta info for a MetaGraphDef; a folder with variables and assets for a SavedModel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from graphrev.edits import AddNode, Edit, EditLog
from graphrev.io import meta_graphs
from graphrev.io.meta_graphs import Envelope
from graphrev.io.saved_models import SavedModelFrame
from graphrev.ir import Graph
from graphrev.ir.marks import collections_of


class Format(Enum):
    """The file formats that are read and written."""

    GRAPH_BINARY = "GraphDef"
    GRAPH_TEXT = "GraphDef text"
    META_BINARY = "MetaGraphDef"
    META_TEXT = "MetaGraphDef text"
    SAVED_MODEL = "SavedModel"

    @property
    def is_text(self) -> bool:
        """Whether the file is protobuf text."""
        return self in (Format.GRAPH_TEXT, Format.META_TEXT)

    @property
    def has_envelope(self) -> bool:
        """Whether the format holds more than a graph."""
        return self not in (Format.GRAPH_BINARY, Format.GRAPH_TEXT)


@dataclass(frozen=True, eq=False)
class Model:
    """A graph and the envelope it came in.

    Attributes:
        graph: the graph.
        format: the format it was read from.
        source: the file, for messages; a phrase like "a GraphDef" when there was none.
        envelope: the other fields of the MetaGraphDef; ``None`` for a bare graph.
        frame: the rest of the SavedModel; ``None`` for everything else.
    """

    graph: Graph
    format: Format
    source: str
    envelope: Envelope | None = None
    frame: SavedModelFrame | None = None

    @property
    def fed(self) -> tuple[str, ...]:
        """Tensors that the signatures feed by name (``"x:0"``), sorted."""
        return self.envelope.signature_tensors(meta_graphs.INPUTS) if self.envelope else ()

    @property
    def fetched(self) -> tuple[str, ...]:
        """Tensors that the signatures fetch by name, sorted."""
        return self.envelope.signature_tensors(meta_graphs.OUTPUTS) if self.envelope else ()

    @property
    def variables(self) -> str | None:
        """The prefix of the checkpoint in a SavedModel; ``None`` where there is none."""
        return self.frame.variables if self.frame else None

    def rewritten(self, graph: Graph, edits: EditLog) -> Model:
        """The model with ``graph`` in place of its own, everything around it kept true.

        Args:
            graph: the result of ``edits`` on this model's graph.
            edits: what was done: added ops enter ``stripped_op_list``, added nodes the control
                flow contexts of what they were copied from, renamed nodes are renamed in
                collections and signatures. A bare graph that is given trainable variables gets
                an envelope that lists them, so that it can be written as a MetaGraphDef.
        """
        if graph is self.graph:
            return self
        envelope = self.envelope
        if envelope is None and any(_is_trained(edit) for edit in edits):
            envelope = Envelope((), 0)
        envelope = envelope and envelope.after(edits, graph)
        return replace(self, graph=graph, envelope=envelope)


def _is_trained(edit: Edit) -> bool:
    return isinstance(edit, AddNode) and "trainable_variables" in collections_of(edit.node)
