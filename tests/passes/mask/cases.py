"""Nets with kernels in every position, built plainly or masked first: what the pass must equal.

Runs under TensorFlow 1.15 (Python 3.7) as well: ``python cases.py build FOLDER`` writes
``<case>.pb`` and ``<case>.first.pb``; ``python cases.py train FOLDER`` trains each
``<case>.masked.pb`` for 100 steps and prints the zeros of its masks as JSON.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow

tf = tensorflow.compat.v1


def normal(name, shape, **options):
    seed = sum(map(ord, name)) + len(shape)
    start = tf.random_normal_initializer(stddev=0.4, seed=seed)
    return tf.get_variable(name, shape, TYPE[0], start, **options)


TYPE = [tf.float64]


def data(shape, name="x"):
    return tf.placeholder(TYPE[0], shape, name)


def dense():
    x = data([4, 5])
    h = tf.tanh(tf.matmul(x, normal("w1", [5, 6])))
    return tf.matmul(h, normal("w2", [6, 3]))


def shared():
    w = normal("w", [5, 5])
    x = data([4, 5])
    return tf.matmul(tf.tanh(tf.matmul(tf.tanh(tf.matmul(x, w)), w)), normal("v", [5, 2]))


def transposed():
    x = data([4, 5])
    h = tf.tanh(tf.matmul(x, normal("w1", [6, 5]), transpose_b=True))
    h = tf.tanh(tf.matmul(h, tf.transpose(normal("w2", [7, 6]))))
    left = tf.matmul(normal("w3", [3, 7]), h, transpose_b=True)
    return tf.matmul(normal("w4", [3, 2]), left, transpose_a=True)


def tied():
    w = normal("w", [5, 6])
    h = tf.tanh(tf.matmul(data([4, 5]), w))
    return tf.matmul(h, w, transpose_b=True)


def conv1d():
    return tf.nn.conv1d(data([2, 9, 3]), normal("w", [3, 3, 4]), 2, "SAME")


def conv2d():
    h = tf.tanh(tf.nn.conv2d(data([2, 6, 6, 3]), normal("w1", [3, 3, 3, 4]), [1, 1, 1, 1], "SAME"))
    return tf.nn.conv2d(h, normal("w2", [3, 3, 4, 2]), [1, 2, 2, 1], "VALID")


def conv3d():
    h = tf.tanh(tf.nn.conv3d(data([1, 4, 4, 4, 2]), normal("w", [2, 2, 2, 2, 3]), [1] * 5, "SAME"))
    deep = tf.nn.conv3d_transpose(h, normal("t", [2, 2, 2, 2, 3]), [1, 4, 4, 4, 2], [1] * 5, "SAME")
    return deep


def depthwise():
    x = data([2, 6, 6, 3])
    h = tf.tanh(tf.nn.depthwise_conv2d(x, normal("d", [3, 3, 3, 2]), [1, 1, 1, 1], "SAME"))
    return tf.nn.conv2d(h, normal("p", [1, 1, 6, 4]), [1, 1, 1, 1], "SAME")


def transpose_conv():
    x = data([2, 3, 3, 4])
    h = tf.nn.conv2d_transpose(x, normal("w1", [3, 3, 5, 4]), [2, 6, 6, 5], [1, 2, 2, 1])
    return tf.nn.conv2d(tf.tanh(h), normal("w2", [3, 3, 5, 2]), [1, 1, 1, 1], "SAME")


def dilated():
    x = data([2, 8, 8, 3])
    return tf.nn.convolution(x, normal("w", [3, 3, 3, 4]), "SAME", dilation_rate=[2, 2])


def batch_matmul():
    h = tf.tanh(tf.matmul(data([3, 4, 5]), normal("w", [3, 5, 6])))
    return tf.matmul(h, normal("v", [3, 2, 6]), transpose_b=True)


def tensordot():
    h = tf.tanh(tf.tensordot(data([3, 4, 5]), normal("w", [5, 6]), [[2], [0]]))
    return tf.tensordot(h, normal("v", [6, 2]), [[2], [0]])


def einsum():
    """Products that TensorFlow 2 keeps as Einsum ops and TensorFlow 1 spells out."""
    h = tf.tanh(tf.einsum("bte,ehd->bthd", data([2, 3, 4]), normal("w", [4, 2, 3])))
    h = tf.tanh(tf.einsum("bthd,hdf->btf", h, normal("v", [2, 3, 5])))
    return tf.einsum("of,btf->bto", normal("u", [2, 5]), h)


def stopped():
    """A kernel that is used a second time behind a stop_gradient."""
    w = normal("w", [5, 5])
    h = tf.tanh(tf.matmul(tf.tanh(tf.matmul(data([4, 5]), w)), tf.stop_gradient(w)))
    return tf.matmul(h, normal("v", [5, 2]))


def attention():
    """Three projections of one fed input: kernels of one shape that read the same data."""
    x = data([4, 6])
    q, k, v = (tf.matmul(x, normal(n, [6, 6])) for n in ("q", "k", "v"))
    return tf.matmul(tf.nn.softmax(tf.matmul(q, k, transpose_b=True)), v)


def resource():
    x = data([4, 5])
    h = tf.tanh(tf.matmul(x, normal("w1", [5, 6], use_resource=True)))
    return tf.matmul(h, normal("w2", [6, 3], use_resource=True))


def partitioned():
    with tf.variable_scope("p", partitioner=tf.fixed_size_partitioner(3)):
        w = normal("w", [6, 5])
        return tf.matmul(tf.tanh(tf.matmul(data([4, 6]), w)), normal("v", [5, 2]))


def mixed_precision():
    x = data([4, 5])
    w = normal("w", [5, 6])
    h = tf.tanh(tf.matmul(tf.cast(x, tf.float32), tf.cast(w, tf.float32)))
    return tf.matmul(tf.cast(h, TYPE[0]), normal("v", [6, 2]))


def cond():
    x = data([4, 5])
    w, v = normal("w", [5, 6]), normal("v", [6, 2])
    yes = tf.reduce_sum(x) < 1e6
    h = tf.cond(yes, lambda: tf.tanh(tf.matmul(x, w)), lambda: tf.sin(tf.matmul(x, w)))
    return tf.matmul(h, v)


def lstm():
    cell = tf.nn.rnn_cell.BasicLSTMCell(6, name="cell") if TWO is False else _lstm_cell
    out, _ = tf.nn.dynamic_rnn(cell, data([3, 4, 5]), dtype=TYPE[0])
    return tf.matmul(out[:, -1], normal("v", [6, 2]))


TWO = not tensorflow.__version__.startswith("1.")
_lstm_cell = None


def loop(use_resource=False):
    """A hand-written recurrent net: two kernels inside a while loop."""
    x = data([7, 4, 5])
    w = normal("w", [5, 6], use_resource=use_resource)
    u = normal("u", [6, 6], use_resource=use_resource)
    sequence = tf.TensorArray(TYPE[0], 7).unstack(x)

    def body(i, h):
        return i + 1, tf.tanh(tf.matmul(sequence.read(i), w) + tf.matmul(h, u))

    start = tf.zeros([4, 6], TYPE[0])
    _, h = tf.while_loop(lambda i, _: i < 7, body, [0, start])
    return tf.matmul(h, normal("v", [6, 2]))


def nested():
    """A loop in a loop, and a branch in the inner one."""
    w, u, v = normal("w", [5, 5]), normal("u", [5, 5]), normal("v", [5, 5])

    def inner(j, h):
        even = lambda: tf.tanh(tf.matmul(h, u))  # noqa: E731
        return j + 1, tf.cond(tf.equal(j % 2, 0), even, lambda: tf.tanh(tf.matmul(h, v)))

    def body(i, h):
        start = [0, tf.tanh(tf.matmul(h, w))]
        return i + 1, tf.while_loop(lambda j, _: j < 3, inner, start)[1]

    _, h = tf.while_loop(lambda i, _: i < 2, body, [0, data([4, 5])])
    return tf.matmul(h, normal("o", [5, 2]))


def penalty():
    """A gradient penalty: the gradient of the input gradient leads to the kernels as well."""
    x = data([2, 6, 6, 3])
    h = tf.tanh(tf.nn.conv2d(x, normal("c", [3, 3, 3, 4]), [1, 2, 2, 1], "SAME"))
    h = tf.tanh(tf.matmul(tf.reshape(h, [2, 36]), normal("a", [36, 5])))
    y = tf.matmul(h, normal("b", [5, 2]))
    return tf.concat([y, tf.reshape(tf.gradients(y, x)[0], [2, -1])], 1)


def towers():
    """Two towers that share their kernels."""
    ends = []
    for part in tf.split(data([4, 5]), 2):
        with tf.variable_scope("net", reuse=tf.AUTO_REUSE):
            h = tf.tanh(tf.matmul(part, normal("w", [5, 6])))
            ends.append(tf.matmul(h, normal("v", [6, 2])))
    return tf.concat(ends, 0)


def loop_resource():
    return loop(use_resource=True)


def conv_loop():
    """A convolution in a loop that reads a resource variable, and so saves it for the way back."""
    w = normal("w", [3, 3, 3, 3], use_resource=True)

    def body(i, h):
        return i + 1, tf.tanh(tf.nn.conv2d(h, w, [1, 1, 1, 1], "SAME"))

    _, h = tf.while_loop(lambda i, _: i < 3, body, [0, data([2, 6, 6, 3])])
    return tf.nn.conv2d(h, normal("v", [3, 3, 3, 2]), [1, 2, 2, 1], "VALID")


def keras_like():
    start = tf.random_normal_initializer(stddev=0.4, seed=5)
    x = data([2, 6, 6, 3])
    h = tf.layers.conv2d(x, 4, 3, activation=tf.nn.relu, name="conv", kernel_initializer=start)
    h = tf.layers.batch_normalization(h, training=True, fused=False, name="norm")
    return tf.layers.dense(tf.layers.flatten(h), 3, name="dense", kernel_initializer=start)


CASES = {
    f.__name__: f
    for f in (
        dense,
        shared,
        transposed,
        tied,
        stopped,
        einsum,
        conv1d,
        conv2d,
        conv3d,
        depthwise,
        transpose_conv,
        dilated,
        batch_matmul,
        tensordot,
        attention,
        resource,
        partitioned,
        mixed_precision,
        cond,
        loop,
        nested,
        penalty,
        towers,
        loop_resource,
        conv_loop,
    )
}
if not TWO:
    CASES["lstm"] = lstm
    CASES["keras_like"] = keras_like


def graph(case, first):
    """The training graph of a case; with ``first`` every kernel is masked before it is used."""
    tf.disable_control_flow_v2()
    raw = []

    def masking(getter, name, *args, **options):
        found = getter(name, *args, **options)
        if found.shape.ndims < 2:
            return found
        raw.append(found)
        if not first:
            return found
        parts = list(found) if hasattr(found, "_get_partitions") else [found]
        masked = []
        for part in parts:
            key = part.op.name.replace("/part_", "_part_") + "_first"
            with tf.variable_scope(tf.VariableScope(tf.AUTO_REUSE)), tf.init_scope():
                mask = tf.get_variable(
                    key,
                    part.shape.as_list(),
                    part.dtype.base_dtype,
                    tf.ones_initializer(),
                    trainable=False,
                    use_resource=False,
                )
            masked.append(mask * part)
        return masked[0] if len(masked) == 1 else tf.concat(masked, 0)

    with tf.Graph().as_default() as built:
        tf.set_random_seed(7)
        step = tf.train.get_or_create_global_step()
        with tf.variable_scope("", custom_getter=masking):
            out = CASES[case]()
        decay = [tf.cast(tf.reduce_sum(tf.square(tf.convert_to_tensor(w))), TYPE[0]) for w in raw]
        loss = tf.reduce_sum(tf.square(out)) + 0.01 * tf.add_n(decay)
        optimizer = tf.train.GradientDescentOptimizer(tf.constant(0.01, TYPE[0]))
        grads = optimizer.compute_gradients(tf.identity(loss, "loss"))
        clipped, _ = tf.clip_by_global_norm([g for g, _ in grads], 10.0)
        optimizer.apply_gradients(
            zip(clipped, [v for _, v in grads]), global_step=step, name="train"
        )
        tf.group([v.initializer for v in tf.global_variables()], name="init")
        return built.as_graph_def()


def feeds(definition):
    """A deterministic batch for every placeholder."""
    found = {}
    for node in definition.node:
        if node.op == "Placeholder":
            shape = [dim.size for dim in node.attr["shape"].shape.dim]
            found[node.name + ":0"] = np.random.RandomState(1).standard_normal(shape)
    return found


def build(folder):
    for case in CASES:
        (folder / (case + ".pb")).write_bytes(graph(case, False).SerializeToString())
        (folder / (case + ".first.pb")).write_bytes(graph(case, True).SerializeToString())


def train(folder):
    result = {}
    for file in sorted(folder.glob("*.masked.pb")):
        definition = tf.GraphDef.FromString(file.read_bytes())
        with tf.Graph().as_default(), tf.Session() as session:
            tf.import_graph_def(definition, name="")
            session.run("init")
            for _ in range(100):
                session.run("train", feeds(definition))
            masks = {
                n.name: n
                for n in definition.node
                if b"masks" in list(n.attr["_graphrev_collections"].list.s)
            }
            reads = {
                n.input[0]: n.name
                for n in definition.node
                if n.op in ("Identity", "ReadVariableOp") and n.input and n.input[0] in masks
            }
            values = {name: session.run(reads[name] + ":0") for name in masks}
            result[file.name.split(".")[0]] = {
                masks[name].attr["_graphrev_mask"].s.decode(): [int((v == 0).sum()), int(v.size)]
                for name, v in values.items()
            }
    print(json.dumps(result))


if __name__ == "__main__":
    {"build": build, "train": train}[sys.argv[1]](Path(sys.argv[2]))
