"""OpDefs of TensorFlow 1.15, for the ``stripped_op_list`` of a MetaGraphDef.

``op_defs_tf1.pb.gz`` is a serialized OpList without descriptions, made by ``tools/make_op_table``
from TensorFlow 1.15.5's registry.
"""

from __future__ import annotations

import gzip
from functools import lru_cache
from importlib import resources

from graphrev.io import wire


def op_definition(op: str) -> bytes | None:
    """The serialized OpDef of an op type; ``None`` when TensorFlow 1.15 does not know it."""
    return _definitions().get(op)


@lru_cache(maxsize=1)
def _definitions() -> dict[str, bytes]:
    packed = resources.files("graphrev.io").joinpath("op_defs_tf1.pb.gz").read_bytes()
    found: dict[str, bytes] = {}
    for _, _, value in wire.fields(gzip.decompress(packed)):
        raw = wire.chunk(value)
        name = next(wire.text(part) for number, _, part in wire.fields(raw) if number == 1)
        found[name] = raw
    return found
