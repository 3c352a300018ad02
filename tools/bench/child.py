"""One measurement in a process of its own; runs under TensorFlow 1.15 (Python 3.7) and 2.x.

Usage: python child.py JOB; prints one line of JSON. ``{"build": ARM, "blocks": N, "path": FILE}``
builds a training graph (``plain``, ``live``, ``recompute_grad``, ``rev_block``) and writes it;
``{"path": FILE, …}`` measures the training step of a file.
"""

import json
import os
import re
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as _tensorflow

tf = _tensorflow.compat.v1
CONVOLUTION = re.compile(r" = _*(?:Mkl)?(?:Native)?(?:Fused)?(Conv2D(?:Backprop(?:Filter|Input))?)")
BATCH, SIZE, CHANNELS = 64, 32, 64


class Net:
    """The net of the published comparisons: stem, split, blocks of BN-ReLU-conv, mean, dense."""

    def __init__(self):
        self.seed = 0

    def variable(self, name, shape, scale):
        """A resource variable with a seed of its own (constant where ``scale`` is none)."""
        self.seed += 1
        if scale is None:
            initializer = tf.ones_initializer() if name == "gamma" else tf.zeros_initializer()
        else:
            initializer = tf.random_normal_initializer(stddev=scale, seed=self.seed)
        return tf.get_variable(name, shape, initializer=initializer, use_resource=True)

    def branch(self, x):
        """Batch norm, ReLU, convolution; He initialised."""
        depth = int(x.shape[-1])
        gamma, beta = self.variable("gamma", [depth], None), self.variable("beta", [depth], None)
        x, _, _ = tf.nn.fused_batch_norm(x, gamma, beta, is_training=True)
        kernel = self.variable("kernel", [3, 3, depth, depth], (2.0 / (9 * depth)) ** 0.5)
        return tf.nn.conv2d(tf.nn.relu(x), kernel, [1, 1, 1, 1], "SAME")

    def named(self, x, name):
        """A branch in a scope of its own."""
        with tf.variable_scope(name):
            return self.branch(x)


def plain_trunk(net, x1, x2, blocks):
    """The blocks as they are written."""
    for block in range(blocks):
        with tf.variable_scope("block%d" % block):
            x1 = x1 + net.named(x2, "f")
            x2 = x2 + net.named(x1, "g")
    return x1, x2


def recompute_grad_trunk(net, x1, x2, blocks):
    """Each block under tf.recompute_grad, its variables made outside."""
    for block in range(blocks):
        with tf.variable_scope("block%d" % block, reuse=tf.AUTO_REUSE):
            seed = net.seed

            def pair(a, b):
                a = a + net.named(b, "f")
                return a, b + net.named(a, "g")

            pair(x1, x2)
            scope = tf.get_variable_scope()

            def again(a, b, scope=scope, pair=pair, seed=seed):
                net.seed = seed
                with tf.variable_scope(scope, reuse=True):
                    return pair(a, b)

            x1, x2 = _tensorflow.recompute_grad(again)(x1, x2)
    return x1, x2


def rev_block_trunk(net, x1, x2, blocks):
    """The blocks by tf.contrib.layers.rev_block."""
    return _tensorflow.contrib.layers.rev_block(x1, x2, net.branch, net.branch, num_layers=blocks)


TRUNKS = {"recompute_grad": recompute_grad_trunk, "rev_block": rev_block_trunk}


def build(arm, blocks):
    """Fills the default graph; returns the gradients' names."""
    tf.set_random_seed(1)
    net = Net()
    x = tf.placeholder(tf.float32, [BATCH, SIZE, SIZE, 3], name="x")
    labels = tf.placeholder(tf.int32, [BATCH], name="label")
    kernel = net.variable("stem", [3, 3, 3, CHANNELS], (2.0 / 27) ** 0.5)
    x1, x2 = tf.split(tf.nn.conv2d(x, kernel, [1, 1, 1, 1], "SAME"), 2, axis=3)
    x1, x2 = TRUNKS.get(arm, plain_trunk)(net, x1, x2, blocks)
    pooled = tf.reduce_mean(tf.concat([x1, x2], 3), [1, 2])
    logits = tf.matmul(pooled, net.variable("dense", [CHANNELS, 10], CHANNELS**-0.5))
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    loss = tf.reduce_mean(loss, name="loss")
    optimizer = tf.train.GradientDescentOptimizer(0.1)
    pairs = optimizer.compute_gradients(loss)
    optimizer.apply_gradients(pairs, name="train")
    tf.variables_initializer(tf.global_variables(), name="init")
    return [grad.name for grad, _ in pairs]


class Step:
    """The training step of one graph in a session of its own."""

    def __init__(self, graph, job):
        config = tf.ConfigProto(inter_op_parallelism_threads=job.get("inter_op", 1))
        config.graph_options.rewrite_options.disable_meta_optimizer = not job.get("grappler", True)
        draw = np.random.RandomState(0)
        shape = [int(d) for d in graph.get_tensor_by_name("x:0").shape]
        self.feeds = {
            "x:0": draw.randn(*shape).astype("float32"),
            "label:0": draw.randint(0, 10, [shape[0]]),
        }
        self.session = tf.Session(graph=graph, config=config)
        self.session.run("init")
        self.times = []

    def gradients(self, names):
        """The values of the gradients, before any step."""
        return self.session.run(names, self.feeds)

    def trace(self):
        """What the second step allocates and runs."""
        self.session.run("train", self.feeds)
        metadata = tf.RunMetadata()
        options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
        self.session.run("train", self.feeds, options=options, run_metadata=metadata)
        return metadata

    def run(self):
        """One step on the clock."""
        start = time.time()
        self.session.run("train", self.feeds)
        self.times.append(time.time() - start)


def measure(graph, gradients, job):
    """Peak bytes, convolution calls and time of the step; saves the gradients where asked.

    ``job["beside"]`` is a second graph file: its steps take turns with the graph's, so that a
    noisy machine slows both; ``time_ratio`` is how much longer the graph's fastest step took.
    """
    step = Step(graph, job)
    if job.get("gradients"):
        np.savez(job["gradients"], *step.gradients(gradients))
    metadata = step.trace()
    result = {"peak": peak(metadata), "convolutions": convolutions(metadata)}
    if job.get("timeline"):
        result["timeline"] = timeline(metadata, job["timeline"])
    racers = [step]
    if job.get("beside"):
        racers.append(Step(load(job["beside"]), job))
        racers[1].run()
        racers[1].times.clear()
    for _ in range(job.get("steps", 3)):
        for racer in racers:
            racer.run()
    result["time"] = min(step.times)
    result["time_ratio"] = min(step.times) / min(racers[-1].times)
    return result


def node_stats(metadata):
    """Every op the CPU ran."""
    for device in metadata.step_stats.dev_stats:
        if "CPU:0" in device.device.upper():
            for stats in device.node_stats:
                yield stats


def allocations(metadata):
    """Times and sizes of the trace's allocations and releases, in order."""
    records = [
        (record.alloc_micros, record.alloc_bytes)
        for stats in node_stats(metadata)
        for memory in stats.memory
        for record in memory.allocation_records
    ]
    return sorted(records, key=lambda record: record[0])


def peak(metadata):
    """The most bytes allocated at once, by the allocation records of the trace."""
    return int(max(np.cumsum([size for _, size in allocations(metadata)])))


def timeline(metadata, points):
    """Bytes allocated at ``points`` moments spread evenly over the step."""
    times, sizes = zip(*allocations(metadata))
    alive = np.cumsum(sizes)
    moments = np.linspace(times[0], times[-1], points)
    places = np.searchsorted(times, moments, side="right") - 1
    return [int(alive[place]) for place in places]


def convolutions(metadata):
    """How often each kind of convolution ran."""
    counts = {}
    for stats in node_stats(metadata):
        match = CONVOLUTION.search(stats.timeline_label)
        if match:
            counts[match.group(1)] = counts.get(match.group(1), 0) + 1
    return counts


def load(path):
    """The graph of a GraphDef file."""
    graph = tf.Graph()
    definition = tf.GraphDef()
    with open(path, "rb") as source:
        definition.ParseFromString(source.read())
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    return graph


def write(job):
    """Builds an arm's training graph and writes it to a file."""
    graph = tf.Graph()
    with graph.as_default():
        names = build(job["build"], job["blocks"])
        if job["build"] == "live":
            import graphrev

            graphrev.rewrite(graph, "reversible{detect=structural}")
    with open(job["path"], "wb") as out:
        out.write(graph.as_graph_def().SerializeToString())
    return {"names": names}


def main(job):
    """Does one job."""
    tf.disable_eager_execution()
    result = write(job) if "build" in job else measure(load(job["path"]), job.get("names", []), job)
    result["tensorflow"] = tf.__version__
    print(json.dumps(result))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
