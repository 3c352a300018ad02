"""GraphDef, MetaGraphDef and SavedModel files <-> models; protobuf stops here."""

from graphrev.io.files import check_extension, decode, load, save
from graphrev.io.graph_defs import decode_graph, encode_graph
from graphrev.io.model import Format, Model

__all__ = [
    "Format",
    "Model",
    "check_extension",
    "decode",
    "decode_graph",
    "encode_graph",
    "load",
    "save",
]
