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

from tools.make_fixtures import exotic, nets, refused, stable, unfit

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
    exotic.revnet_resource,
    exotic.split1,
    exotic.aux_head,
    exotic.dropout_unseeded,
    exotic.devices,
    exotic.recurrent,
    unfit.near_misses_unmarked,
]
LABELS = [0, 10]
TOTAL_LOSS = ("summaries_and_head", "aux_head")


def feeds_of(graph):
    """Every placeholder with its type and shape (-1 for an open dimension), integers
    with their range (the end excluded)."""
    found = {}
    for op in graph.get_operations():
        if op.type == "Placeholder" and not op.name.startswith("save"):
            tensor = op.outputs[0]
            shape = [-1 if d is None else d for d in tensor.shape.as_list()]
            found[op.name] = {"dtype": tensor.dtype.name, "shape": shape}
            if tensor.dtype.is_integer:
                found[op.name]["range"] = LABELS
    return found


def random_feeds(entry):
    """Random values for every placeholder, integers within their range; open sizes are BATCH."""
    random, feeds = np.random.RandomState(0), {}
    for name, feed in sorted(entry["feeds"].items()):
        shape = [nets.BATCH if d < 0 else d for d in feed["shape"]]
        low_high = feed.get("range")
        value = random.randint(*low_high, size=shape) if low_high else random.randn(*shape)
        feeds[name + ":0"] = value.astype(tf.as_dtype(feed["dtype"]).as_numpy_dtype)
    return feeds


def check(entry, load):
    """Loads what was written into a fresh graph and runs one training step."""
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        load(session)
        feeds = random_feeds(entry)
        values = session.run([entry["loss"]] + entry["gradients"], feeds)
        assert all(np.isfinite(v).all() for v in values), entry
        session.run(entry["train"], feeds)
        assert np.isfinite(session.run(entry["loss"], feeds)).all(), entry


def load_meta(path):
    """Imports the written file into the session's graph and initialises its variables."""

    def load(session):
        with gzip.open(path) as source:
            tf.train.import_meta_graph(tf.MetaGraphDef.FromString(source.read()))
        session.run("init")

    return load


def write(folder, builder):
    """Builds one fixture; returns its entry in the index."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(4)
        entry = builder()
        tf.variables_initializer(tf.global_variables(), name="init")
        saver = tf.train.Saver()
        meta = tf.train.export_meta_graph(saver_def=saver.as_saver_def(), graph=graph)
    name = builder.__name__
    loss = "total_loss:0" if name in TOTAL_LOSS else "loss:0"
    entry.update(file=name + ".meta.gz", feeds=feeds_of(graph), loss=loss)
    entry.update(init="init", train="train")
    path = os.path.join(folder, entry["file"])
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as out:
        out.write(stable.meta_bytes(meta))
    check(entry, load_meta(path))
    return entry


def write_saved_model(folder):
    """A v1 SavedModel of a small training graph, variables included."""
    target = os.path.join(folder, "saved_model")
    shutil.rmtree(target, ignore_errors=True)
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        tf.set_random_seed(4)
        entry = nets.widths()
        entry.update(feeds=feeds_of(graph), loss="loss:0", train="train")
        session.run(tf.variables_initializer(tf.global_variables(), name="init"))
        inputs = {"x": graph.get_tensor_by_name("x:0")}
        signature = tf.saved_model.predict_signature_def(
            inputs, {"loss": graph.get_tensor_by_name("loss:0")}
        )
        builder = tf.saved_model.Builder(target)
        with stable.fixed_uuid():
            builder.add_meta_graph_and_variables(
                session, ["train"], signature_def_map={"training": signature}
            )
        builder.save()
    stable.restate_saved_model(target)
    check(entry, lambda session: tf.saved_model.load(session, ["train"], target))


def main(folder):
    """Writes everything and the index."""
    if not os.path.isdir(folder):
        os.makedirs(folder)
    index = {builder.__name__: write(folder, builder) for builder in NETS}
    with tf.Graph().as_default() as graph:
        refused.frozen()
        tf.train.write_graph(graph.as_graph_def(), folder, "frozen.pbtxt", as_text=True)
        data = graph.as_graph_def().SerializeToString(deterministic=True)
        stable.write_bytes(os.path.join(folder, "frozen.pb"), data)
    write_saved_model(folder)
    with open(os.path.join(folder, "index.json"), "w") as out:
        json.dump(index, out, indent=1, sort_keys=True)
        out.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
