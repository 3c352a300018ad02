"""Builds, runs and writes every fixture.

Usage (TensorFlow 1.15.5): python -m tools.make_fixtures tests/fixtures
"""

import gzip
import json
import os
import shutil
import sys

import numpy as np
import tensorflow as tf

from tools.make_fixtures import nets, refused

NETS = [
    nets.revnet,
    nets.revnet_ref,
    nets.bench,
    nets.dense_double,
    nets.dense_half,
    nets.dense_bfloat16,
    nets.side_inputs,
    nets.dropout,
    nets.shared_variables,
    nets.summaries_and_head,
    nets.sums,
    nets.widths,
    nets.partitioned,
    nets.two_losses,
    refused.plain_resnet,
    refused.near_misses,
    refused.while_block,
    refused.cond_block,
]


def feeds_of(graph):
    """Every placeholder with its type and shape (-1 for an open dimension)."""
    found = {}
    for op in graph.get_operations():
        if op.type == "Placeholder" and not op.name.startswith("save"):
            tensor = op.outputs[0]
            shape = [-1 if d is None else d for d in tensor.shape.as_list()]
            found[op.name] = {"dtype": tensor.dtype.name, "shape": shape}
    return found


def check(data, entry):
    """Imports what was written and runs one training step."""
    meta = tf.MetaGraphDef.FromString(data)
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        tf.train.import_meta_graph(meta)
        session.run("init")
        feeds = {}
        for name, feed in entry["feeds"].items():
            shape = [nets.BATCH if d < 0 else d for d in feed["shape"]]
            dtype = tf.as_dtype(feed["dtype"]).as_numpy_dtype
            feeds[name + ":0"] = np.ones(shape).astype(dtype)
        session.run("train", feeds)
        assert np.isfinite(session.run(entry["loss"], feeds)).all(), entry


def write(folder, builder):
    """Builds one fixture; returns its entry in the index."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(4)
        entry = builder()
        tf.variables_initializer(tf.global_variables(), name="init")
        saver = tf.train.Saver()
        meta = tf.train.export_meta_graph(saver_def=saver.as_saver_def(), graph=graph)
    name = builder.__name__
    loss = "total_loss:0" if name == "summaries_and_head" else "loss:0"
    entry.update(file=name + ".meta.gz", feeds=feeds_of(graph), loss=loss)
    data = meta.SerializeToString(deterministic=True)
    if name != "bench":
        check(data, entry)
    with open(os.path.join(folder, entry["file"]), "wb") as raw:
        with gzip.GzipFile("", "wb", 9, raw, mtime=0) as out:
            out.write(data)
    return entry


def write_saved_model(folder):
    """A v1 SavedModel of a small training graph, variables included."""
    target = os.path.join(folder, "saved_model")
    shutil.rmtree(target, ignore_errors=True)
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        tf.set_random_seed(4)
        nets.widths()
        session.run(tf.variables_initializer(tf.global_variables(), name="init"))
        inputs = {"x": graph.get_tensor_by_name("x:0")}
        signature = tf.saved_model.predict_signature_def(
            inputs, {"loss": graph.get_tensor_by_name("loss:0")}
        )
        builder = tf.saved_model.Builder(target)
        builder.add_meta_graph_and_variables(
            session, ["train"], signature_def_map={"training": signature}
        )
        builder.save()


def main(folder):
    """Writes everything and the index."""
    if not os.path.isdir(folder):
        os.makedirs(folder)
    index = {builder.__name__: write(folder, builder) for builder in NETS}
    with tf.Graph().as_default() as graph:
        refused.frozen()
        tf.train.write_graph(graph.as_graph_def(), folder, "frozen.pbtxt", as_text=True)
        tf.train.write_graph(graph.as_graph_def(), folder, "frozen.pb", as_text=False)
    write_saved_model(folder)
    with open(os.path.join(folder, "index.json"), "w") as out:
        json.dump(index, out, indent=1, sort_keys=True)
        out.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
