"""Makes what TensorFlow writes the same bytes on every run.

Three things differ from run to run in TF 1.15.5: the order of protobuf map entries, which
``SerializeToString(deterministic=True)`` settles, but not inside the control-flow contexts that
collections hold as bytes; and the random folder name in a sharded Saver.
"""

import contextlib
import os
import uuid
from unittest import mock

import tensorflow as tf
from tensorflow.core.protobuf import control_flow_pb2, saved_model_pb2

CONTEXTS = {
    "cond_context": control_flow_pb2.CondContextDef,
    "while_context": control_flow_pb2.WhileContextDef,
}


def meta_bytes(meta):
    """A MetaGraphDef as bytes, contexts included; ``meta`` is changed in place."""
    for key, kind in CONTEXTS.items():
        if key in meta.collection_def:
            values = meta.collection_def[key].bytes_list.value
            values[:] = [
                kind.FromString(value).SerializeToString(deterministic=True) for value in values
            ]
    return meta.SerializeToString(deterministic=True)


def write_bytes(path, data):
    """Writes ``data`` to ``path``."""
    with open(path, "wb") as out:
        out.write(data)


def restate_saved_model(folder):
    """Writes the ``saved_model.pb`` of a folder again, in a stable order."""
    path = os.path.join(folder, "saved_model.pb")
    with open(path, "rb") as source:
        model = saved_model_pb2.SavedModel.FromString(source.read())
    for meta in model.meta_graphs:
        meta_bytes(meta)
    write_bytes(path, model.SerializeToString(deterministic=True))


@contextlib.contextmanager
def fixed_uuid():
    """Saver names its temporary folder by ``uuid4``: here it is always the same."""
    with mock.patch.object(uuid, "uuid4", lambda: uuid.UUID(int=0)):
        yield


def unseeded():
    """Drops the graph's seed: random ops without a seed of their own have none (0, 0)."""
    tf.set_random_seed(None)
