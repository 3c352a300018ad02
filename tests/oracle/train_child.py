"""Trains an imported MetaGraph and prints its losses; runs under TensorFlow 1.15 and 2.x.

Usage: python train_child.py '{"meta": path, "steps": 50, "feeds": {...}, "loss": "loss:0",
"checkpoint": prefix, "restore": prefix}'
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as _tensorflow

tf = _tensorflow.compat.v1
BATCH = 8


def batch(draw, feeds):
    """Random values for every placeholder."""
    values = {}
    for name in sorted(feeds):
        shape = [BATCH if d < 0 else d for d in feeds[name]["shape"]]
        if feeds[name]["dtype"].startswith("int"):
            values[name + ":0"] = draw.randint(0, 10, shape)
        else:
            values[name + ":0"] = draw.randn(*shape).astype(feeds[name]["dtype"])
    return values


def main(job):
    """Imports, restores or initializes, trains, saves."""
    tf.disable_eager_execution()
    graph = tf.Graph()
    with graph.as_default():
        saver = tf.train.import_meta_graph(job["meta"])
    draw = np.random.RandomState(job.get("seed", 0))
    losses = []
    with tf.Session(graph=graph) as session:
        if job.get("restore"):
            saver.restore(session, job["restore"])
        else:
            session.run("init")
        if job.get("checkpoint"):
            saver.save(session, job["checkpoint"], write_meta_graph=False)
        for _ in range(job["steps"]):
            loss, _ = session.run([job["loss"], "train"], batch(draw, job["feeds"]))
            losses.append(float(loss))
    print(json.dumps({"losses": losses, "version": tf.__version__}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
