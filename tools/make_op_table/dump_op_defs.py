"""Writes the op registry of the TensorFlow 1.15 it runs under as a compressed OpList.

Usage: python dump_op_defs.py graphrev/io/op_defs_tf1.pb.gz
"""

import gzip
import sys

from tensorflow.core.framework import op_def_pb2
from tensorflow.python import pywrap_tensorflow as c_api


def main(path):
    """Writes every public op without its descriptions."""
    registry = op_def_pb2.OpList()
    registry.ParseFromString(c_api.TF_GetBuffer(c_api.TF_GetAllOpList()))
    kept = op_def_pb2.OpList()
    for op in sorted(registry.op, key=lambda op: op.name):
        if op.name.startswith("_"):
            continue
        added = kept.op.add()
        added.CopyFrom(op)
        added.summary = added.description = ""
        for part in list(added.input_arg) + list(added.output_arg) + list(added.attr):
            part.description = ""
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as out:
        out.write(kept.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
