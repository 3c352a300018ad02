"""Prints the op registry of the TensorFlow it runs under as JSON (Python 3.7 and later).

Usage: python dump.py > ops-<version>.json
"""

import json
import sys

import tensorflow as tf
from tensorflow.core.framework import op_def_pb2

try:
    from tensorflow.python.client import pywrap_tf_session as c_api

    c_api.TF_GetAllOpList
except (ImportError, AttributeError):
    from tensorflow.python import pywrap_tensorflow as c_api


def spec(arg):
    """An argument's type as text: ``float``, ``T``, ``N*T``, ``list(Tout)``, ``Ref(T)``."""
    if arg.type_list_attr:
        return "list(%s)" % arg.type_list_attr
    kind = arg.type_attr or "#%d" % arg.type
    if arg.is_ref:
        kind = "Ref(%s)" % kind
    return "%s*%s" % (arg.number_attr, kind) if arg.number_attr else kind


def attrs(op):
    """Attributes with their types and, where they have one, their default."""
    found = {}
    for attr in op.attr:
        entry = {"type": attr.type}
        if attr.HasField("default_value"):
            entry["default"] = attr.default_value.SerializeToString().hex()
        found[attr.name] = entry
    return found


def main():
    """Writes the registry to standard output."""
    registry = op_def_pb2.OpList()
    registry.ParseFromString(c_api.TF_GetBuffer(c_api.TF_GetAllOpList()))
    ops = {
        op.name: {
            "stateful": op.is_stateful,
            "inputs": [[arg.name, spec(arg)] for arg in op.input_arg],
            "outputs": [[arg.name, spec(arg)] for arg in op.output_arg],
            "attrs": attrs(op),
        }
        for op in registry.op
    }
    json.dump({"version": tf.__version__, "ops": ops}, sys.stdout, sort_keys=True)


if __name__ == "__main__":
    main()
