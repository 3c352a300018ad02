"""Peak memory and time of a while loop of residual pairs, plain and rewritten.

Usage: python -m tools.bench.loops [--iterations 8,16,32,64,128] [--processes 3] [--oracle PYTHON]
       [--anchor-every N] [--no-grappler] [--inter-op N] [--v2]

The net is built once (by the oracle, TensorFlow 1.15, where its Python is given), rewritten here,
and each arm is run in processes of its own. Peaks come from the allocation records of a
FULL_TRACE; times are processor time, the least of three steps; the gradient error is relative L2
over all gradients, against the plain graph. The loop is one of TensorFlow 1 (Enter, Exit), or with
--v2 a functional one (While), whose values are saved in TensorLists. This file runs under Python
3.7 too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS, WIDTH = 256, 256
ROOT = Path(__file__).resolve().parents[2]


def build(path, functional):
    """Writes the plain training graph: one pair an iteration, tanh(x w) each."""
    tf = _tensorflow()
    if functional:
        tf.enable_control_flow_v2()
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [ROWS, WIDTH], name="x")
        n = tf.placeholder(tf.int32, [], name="n")
        normal = tf.random_normal_initializer(stddev=0.3 * WIDTH**-0.5, seed=1)
        names = ("f", "g")
        f, g = (
            tf.get_variable(name, [WIDTH, WIDTH], initializer=normal, use_resource=True)
            for name in names
        )

        def body(i, a, b):
            a = a + tf.tanh(tf.matmul(b, f))
            b = b + tf.tanh(tf.matmul(a, g))
            return i + 1, a, b

        _, a, b = tf.while_loop(lambda i, a, b: i < n, body, [0, x, x * 0.5])
        loss = tf.reduce_mean(tf.square(a) + tf.square(b), name="loss")
        for number, grad in enumerate(tf.gradients(loss, [x, f, g])):
            tf.identity(grad, name=f"grad{number}")
        tf.variables_initializer(tf.global_variables(), name="init")
    Path(path).write_bytes(graph.as_graph_def().SerializeToString())


def run(job):
    """Measures one graph file; prints a line of JSON."""
    import numpy as np

    from tools.bench.child import peak

    tf = _tensorflow()
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(tf.GraphDef.FromString(Path(job["path"]).read_bytes()), name="")
    config = tf.ConfigProto(inter_op_parallelism_threads=job["inter_op"])
    config.graph_options.rewrite_options.disable_meta_optimizer = not job["grappler"]
    x = np.random.RandomState(0).randn(ROWS, WIDTH).astype("float32")
    feeds = {"x:0": x, "n:0": job["iterations"]}
    fetches = ["grad0:0", "grad1:0", "grad2:0"]
    with tf.Session(graph=graph, config=config) as session:
        session.run("init")
        values = session.run(fetches, feeds)
        np.savez(job["values"], *values)
        metadata = tf.RunMetadata()
        options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
        session.run(fetches, feeds, options=options, run_metadata=metadata)
        times = []
        for _ in range(3):
            start = time.process_time()
            session.run(fetches, feeds)
            times.append(time.process_time() - start)
    print(json.dumps({"peak": peak(metadata), "time": min(times), "tensorflow": tf.__version__}))


def _tensorflow():
    import tensorflow

    tf = tensorflow.compat.v1
    tf.disable_eager_execution()
    tf.disable_control_flow_v2()
    return tf


def rewrite(plain, changed, anchor_every):
    """Rewrites the file ``plain``; returns how many stacks are pushed to before and after."""
    from graphrev.io import decode_graph, encode_graph
    from graphrev.passes import Reversible
    from graphrev.pipeline import run as run_passes

    before = decode_graph(plain.read_bytes())
    done = run_passes(before, [Reversible(detect="structural", anchor_every=anchor_every)])
    changed.write_bytes(encode_graph(done.after))
    return tuple(_pushes(graph) for graph in (before, done.after))


def _pushes(graph):
    """How many values an iteration pushes, in the graph and in its functions."""
    bodies = (graph.nodes, *(function.nodes for function in graph.functions.values()))
    pushes = ("StackPushV2", "TensorListPushBack")
    return sum(node.op in pushes for nodes in bodies for node in nodes.values())


def _child(python, *arguments):
    command = [python, "-m", "tools.bench.loops", *arguments]
    done = subprocess.run(command, cwd=str(ROOT), capture_output=True, text=True, check=True)
    return done.stdout


def _measure(python, path, values, iterations, args):
    job = {
        "path": str(path),
        "values": str(values),
        "iterations": iterations,
        "inter_op": args.inter_op,
        "grappler": not args.no_grappler,
    }
    lines = [_child(python, "run", json.dumps(job)) for _ in range(args.processes)]
    return [json.loads(line.strip().splitlines()[-1]) for line in lines]


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="tools.bench.loops", description=__doc__)
    parser.add_argument("--iterations", default="8,16,32,64,128")
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--oracle", default=sys.executable)
    parser.add_argument("--anchor-every", type=int)
    parser.add_argument("--no-grappler", action="store_true")
    parser.add_argument("--inter-op", type=int, default=1)
    parser.add_argument("--v2", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plain, changed = Path(folder, "plain.pb"), Path(folder, "changed.pb")
        _child(args.oracle, "build", str(plain), "v2" if args.v2 else "v1")
        print(
            "pushes an iteration, plain and rewritten:", rewrite(plain, changed, args.anchor_every)
        )
        print(f"{'iterations':>10}{'plain MB':>16}{'rewritten MB':>16}{'time':>7}  gradient error")
        for iterations in (int(part) for part in args.iterations.split(",")):
            _row(args, plain, changed, iterations)


def _row(args, plain, changed, iterations):
    values = [Path(str(path) + ".npz") for path in (plain, changed)]
    rows = [
        _measure(args.oracle, path, kept, iterations, args)
        for path, kept in zip((plain, changed), values)
    ]
    peaks = [sorted(one["peak"] / 1e6 for one in row) for row in rows]
    times = [min(one["time"] for one in row) for row in rows]
    shown = "".join(f"{low[0]:>8.1f}-{low[-1]:<7.1f}" for low in peaks)
    version = rows[0][0]["tensorflow"]
    error = _error(*values)
    print(
        f"{iterations:>10}{shown}{times[1] / times[0]:>7.2f}  {error:.1e}  TF {version}", flush=True
    )


def _error(plain, changed):
    import numpy as np

    left, right = (np.load(str(path)) for path in (plain, changed))
    off = sum(float(np.sum((left[k] - right[k]) ** 2)) for k in left.files)
    return (off / sum(float(np.sum(left[k] ** 2)) for k in left.files)) ** 0.5


if __name__ == "__main__":
    if sys.argv[1:2] == ["build"]:
        build(sys.argv[2], sys.argv[3] == "v2")
    elif sys.argv[1:2] == ["run"]:
        run(json.loads(sys.argv[2]))
    else:
        main()
