"""Programs that save and resume, for TensorFlow 1.15 (Python 3.7) and 2 alike.

``python savers.py build FOLDER`` trains each program a little and saves it dense; with ``resume``
it continues each ``<case>.masked.meta`` from its dense checkpoint, then from its own.
A checkpoint of the older format must have been given masks as ``older.start``.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow

tf = tensorflow.compat.v1
SAVERS = {
    "ref": {},
    "resource": {"resource": True},
    "partitioned": {"parts": 3},
    "sharded": {"saver": {"sharded": True}},
    "older": {"saver": {"write_version": 1}},
    "each": {"saver": {"restore_sequentially": True}},
}
BATCH = {"x:0": np.linspace(-1.0, 1.0, 40).reshape(4, 10)}


def program(resource=False, parts=None, saver=None):
    """Three dense layers with momentum, a global step and a saver."""
    partitioner = tf.fixed_size_partitioner(parts) if parts else None
    h = tf.placeholder(tf.float32, [4, 10], "x")
    for number, width in enumerate((12, 9, 3)):
        with tf.variable_scope(f"l{number}", partitioner=partitioner):
            start = tf.random_normal_initializer(stddev=0.4, seed=number)
            shape = [int(h.shape[1]), width]
            w = tf.get_variable("kernel", shape, initializer=start, use_resource=resource)
            h = tf.tanh(tf.matmul(h, w))
    loss = tf.reduce_sum(tf.square(h - 0.5), name="loss")
    step = tf.train.get_or_create_global_step()
    tf.train.MomentumOptimizer(0.02, 0.9).minimize(loss, global_step=step, name="train")
    tf.group(tf.global_variables_initializer(), name="init")
    return tf.train.Saver(**(saver or {}))


def build(folder):
    """Writes ``<case>.meta`` and ``<case>.dense*`` for every case, and a SavedModel."""
    for case, options in SAVERS.items():
        with tf.Graph().as_default(), tf.Session() as session:
            saver = program(**options)
            session.run("init")
            for _ in range(3):
                session.run("train", BATCH)
            saver.save(session, str(folder / (case + ".dense")), write_meta_graph=False)
            saver.export_meta_graph(str(folder / (case + ".meta")))
            if case == "ref":
                _saved_model(session, folder / "saved_model")


def _saved_model(session, folder):
    graph = session.graph
    tensor = tf.saved_model.utils.build_tensor_info
    x, loss = graph.get_tensor_by_name("x:0"), graph.get_tensor_by_name("loss:0")
    signature = tf.saved_model.signature_def_utils.build_signature_def(
        {"x": tensor(x)}, {"loss": tensor(loss)}, "predict"
    )
    builder = tf.saved_model.builder.SavedModelBuilder(str(folder))
    builder.add_meta_graph_and_variables(session, ["train"], {"serving_default": signature})
    builder.save()


def _values(session):
    return {v.op.name: session.run(v.value()) for v in tf.global_variables()}


def resume(folder):
    """For each case what its masks hold after restoring and training, and whether it resumes."""
    result = {}
    for case in SAVERS:
        meta = folder / (case + ".masked.meta")
        start = folder / (case + (".start" if case == "older" else ".dense"))
        with tf.Graph().as_default(), tf.Session() as session:
            saver = tf.train.import_meta_graph(str(meta))
            session.run("init")
            saver.restore(session, str(start))
            dense = _values(session)
            losses = [float(session.run(["loss:0", "train"], BATCH)[0]) for _ in range(7)]
            middle = saver.save(session, str(folder / (case + ".middle")))
            masked = _values(session)
            straight = [float(session.run(["loss:0", "train"], BATCH)[0]) for _ in range(6)]
        with tf.Graph().as_default(), tf.Session() as session:
            saver = tf.train.import_meta_graph(str(meta))
            saver.restore(session, middle)
            same = _values(session)
            resumed = [float(session.run(["loss:0", "train"], BATCH)[0]) for _ in range(6)]
            final = _values(session)
        masks = [name for name in dense if "mask" in name.split("/")]
        result[case] = {
            "starts dense": all(float(dense[name].min()) == 1.0 for name in masks),
            "comes back": all(np.array_equal(masked[name], same[name]) for name in masked),
            "goes on": straight == resumed,
            "losses fall": losses[-1] < losses[0],
            "zeros": {name: int((final[name] == 0).sum()) for name in masks},
        }
    print(json.dumps(result))


if __name__ == "__main__":
    if tensorflow.__version__ >= "2":
        tf.disable_eager_execution()
    {"build": build, "resume": resume}[sys.argv[1]](Path(sys.argv[2]))
