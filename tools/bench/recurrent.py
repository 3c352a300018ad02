"""Peak memory and time of recurrent nets by ``dynamic_rnn``, plain and with the loop recomputed.

Usage: python -m tools.bench.recurrent [--oracle PYTHON] [--cells basic_lstm,lstm,gru]
       [--steps 200] [--batch 64] [--units 128] [--inputs 128] [--loss outputs,state] [--lengths]
       [--turns 5] [--runs 1] [--no-open-batch]

Each training graph is built by the oracle (TensorFlow 1.15.5, found or installed unless its Python
is given: 2.x has no cells), rewritten here with ``recompute{frames=...}``, and run in the oracle
and here, Grappler on and off. Peaks come from the allocation records of a FULL_TRACE; times are
wall-clock, the least of several steps that take turns with the plain graph's; gradients are
compared bit for bit. A loss on all outputs and one on the last state differ in what else is alive;
``--runs`` measures in that many processes each, as peaks vary with the order of execution. This
file runs under Python 3.7 too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FRAMES = "rnn/while/"


def build(job):
    """Writes the plain training graph; prints the names of its gradients."""
    tf = _tensorflow()
    graph = tf.Graph()
    with graph.as_default():
        batch = None if job["open_batch"] else job["batch"]
        x = tf.placeholder(tf.float32, [batch, job["steps"], job["inputs"]], name="x")
        length = tf.placeholder(tf.int32, [batch], name="length") if job["lengths"] else None
        tf.set_random_seed(1)
        cells = {
            "basic_lstm": tf.nn.rnn_cell.BasicLSTMCell,
            "lstm": tf.nn.rnn_cell.LSTMCell,
            "gru": tf.nn.rnn_cell.GRUCell,
        }
        cell = cells[job["cell"]](job["units"])
        outputs, state = tf.nn.dynamic_rnn(cell, x, dtype=tf.float32, sequence_length=length)
        ends = tf.nest.flatten(state) if job["loss"] == "state" else [outputs]
        loss = tf.add_n([tf.reduce_mean(tf.square(end)) for end in ends], name="loss")
        optimizer = tf.train.GradientDescentOptimizer(0.1)
        pairs = optimizer.compute_gradients(loss)
        optimizer.apply_gradients(pairs, name="train")
        tf.variables_initializer(tf.global_variables(), name="init")
    Path(job["path"]).write_bytes(graph.as_graph_def().SerializeToString())
    print(json.dumps([grad.name for grad, _ in pairs]))


class Step:
    """The training step of one graph file in a session of its own."""

    def __init__(self, path, job):
        tf = _tensorflow()
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(tf.GraphDef.FromString(Path(path).read_bytes()), name="")
        config = tf.ConfigProto()
        config.graph_options.rewrite_options.disable_meta_optimizer = not job["grappler"]
        self.session = tf.Session(graph=graph, config=config)
        self.session.run("init")
        self.feeds = _feeds(job)
        self.times = []

    def trace(self):
        """The most bytes allocated at once in the second step."""
        from tools.bench.child import peak

        tf = _tensorflow()
        metadata = tf.RunMetadata()
        options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
        self.session.run("train", self.feeds)
        self.session.run("train", self.feeds, options=options, run_metadata=metadata)
        return peak(metadata)

    def run(self):
        """One step on the clock."""
        start = time.time()
        self.session.run("train", self.feeds)
        self.times.append(time.time() - start)


def _feeds(job):
    import numpy as np

    draw = np.random.RandomState(0)
    feeds = {"x:0": draw.randn(job["batch"], job["steps"], job["inputs"]).astype("float32")}
    if job["lengths"]:
        feeds["length:0"] = draw.randint(0, job["steps"] + 1, job["batch"])
    return feeds


def measure(job):
    """Peaks, times and gradients of the plain and the rewritten graph; prints a line of JSON."""
    import numpy as np

    arms = [Step(path, job) for path in job["paths"]]
    start = _variables(arms[0])
    same = []
    for arm in arms:
        _assign(arm, start)
        same.append(arm.session.run(job["gradients"], arm.feeds))
    bitwise = all(np.array_equal(left, right) for left, right in zip(*same))
    moving = all(np.any(value) for value in same[0])
    peaks = [arm.trace() for arm in arms]
    for _ in range(job["turns"]):
        for arm in arms:
            arm.run()
    times = [min(arm.times) for arm in arms]
    version = _tensorflow().__version__
    found = {"peaks": peaks, "times": times, "bitwise": bitwise and moving, "tensorflow": version}
    print(json.dumps(found))


def _variables(arm):
    """The variables' values, by the assignments that set them first and what those assign."""
    found = [op for op in arm.session.graph.get_operations() if op.type == "Assign"]
    return [(op.name, op.inputs[1].name, arm.session.run(op.inputs[0])) for op in found]


def _assign(arm, values):
    """Starts the variables where the other graph's started."""
    for assignment, initial, value in values:
        arm.session.run(assignment, {initial: value})


def _tensorflow():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow

    tf = tensorflow.compat.v1
    tf.logging.set_verbosity(tf.logging.ERROR)
    tf.disable_eager_execution()
    tf.disable_control_flow_v2()
    return tf


def rewrite(plain, changed):
    """Rewrites the file ``plain``; returns the pushes an iteration before and after."""
    from graphrev.io import decode_graph, encode_graph
    from graphrev.passes import Recompute
    from graphrev.pipeline import run as run_passes

    before = decode_graph(plain.read_bytes())
    done = run_passes(before, [Recompute(frames=FRAMES)])
    changed.write_bytes(encode_graph(done.after))
    return tuple(
        sum(node.op == "StackPushV2" for node in graph.nodes.values())
        for graph in (before, done.after)
    )


def _child(python, *arguments):
    command = [python, "-W", "ignore", "-m", "tools.bench.recurrent", *arguments]
    environment = {key: value for key, value in os.environ.items() if key != "TF2_BEHAVIOR"}
    done = subprocess.run(
        command, cwd=str(ROOT), stdout=subprocess.PIPE, check=True, env=environment
    )
    return json.loads(done.stdout.decode().strip().splitlines()[-1])


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="tools.bench.recurrent", description=__doc__)
    parser.add_argument("--oracle", default=None)
    parser.add_argument("--cells", default="basic_lstm,lstm,gru")
    parser.add_argument("--loss", default="outputs,state", help="what the loss reads")
    for name, default in {"steps": 200, "batch": 64, "units": 128, "inputs": 128}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--runs", type=int, default=1, help="processes for each row")
    parser.add_argument("--lengths", action="store_true", help="feed a sequence_length")
    parser.add_argument("--no-open-batch", action="store_true", help="a batch size that is known")
    args = parser.parse_args()
    args.oracle = args.oracle or _found_oracle()
    sizes = f"{'plain MB':>10}{'here MB':>9}{'peak':>8}{'time':>6}"
    print(f"{'cell':<12}{'loss':<9}{'pushes':>9}{sizes}  gradients")
    for cell in args.cells.split(","):
        for loss in args.loss.split(","):
            with tempfile.TemporaryDirectory() as folder:
                _cell({**vars(args), "cell": cell, "loss": loss}, Path(folder))


def _found_oracle():
    from tools.oracle import find_oracle

    python, why = find_oracle()
    if python is None:
        raise SystemExit(why)
    return str(python)


def _cell(args, folder):
    job = {**args, "open_batch": not args["no_open_batch"]}
    plain, changed = folder / "plain.pb", folder / "changed.pb"
    job["gradients"] = _child(job["oracle"], "build", json.dumps({**job, "path": str(plain)}))
    pushes = rewrite(plain, changed)
    job["paths"] = [str(plain), str(changed)]
    for python in dict.fromkeys((job["oracle"], sys.executable)):
        for grappler in (True, False):
            for _ in range(job["runs"]):
                found = _child(python, "run", json.dumps({**job, "grappler": grappler}))
                _row(job, pushes, found, grappler)


def _row(job, pushes, found, grappler):
    plain, here = (peak / 1e6 for peak in found["peaks"])
    ratio = found["times"][1] / found["times"][0]
    bits = "the same bits" if found["bitwise"] else "DIFFERENT"
    sizes = f"{plain:>10.1f}{here:>9.1f}{here / plain:>8.1%}{ratio:>6.2f}"
    where = f"TF {found['tensorflow']}, Grappler {'on' if grappler else 'off'}"
    what = f"{job['cell']:<12}{job['loss']:<9}{pushes[0]:>4} to{pushes[1]:>2}"
    print(f"{what}{sizes}  {bits}, {where}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["build"]:
        build(json.loads(sys.argv[2]))
    elif sys.argv[1:2] == ["run"]:
        measure(json.loads(sys.argv[2]))
    else:
        main()
