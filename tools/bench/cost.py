"""What rewriting costs by graph size, beside ``tf.import_graph_def`` on the same graph."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_REWRITE = """
import resource, time, sys, json
start = time.time()
import graphrev
result = graphrev.rewrite(sys.argv[1], "reversible{detect=structural}")
result.save(sys.argv[2], overwrite=True)
blocks = len(result.report.steps[0].plan.blocks)
print(json.dumps({"time": time.time() - start, "blocks": blocks,
                  "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""
_IMPORT = """
import resource, time, sys, json
import tensorflow as tf
tf = tf.compat.v1
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
start = time.time()
definition = tf.GraphDef.FromString(open(sys.argv[1], "rb").read())
with tf.Graph().as_default():
    tf.import_graph_def(definition, name="")
print(json.dumps({"time": time.time() - start,
                  "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""
_BUILD = """
import sys
import tensorflow as tf
tf = tf.compat.v1
tf.disable_eager_execution()
blocks, path = int(sys.argv[1]), sys.argv[2]
with tf.Graph().as_default() as graph:
    x = tf.placeholder(tf.float32, [8, 8], name="x")
    a, b = tf.split(tf.matmul(x, tf.get_variable("stem", [8, 16])), 2, axis=1)
    for block in range(blocks):
        with tf.variable_scope("block%d" % block):
            f, g = tf.get_variable("f", [8, 8]), tf.get_variable("g", [8, 8])
            a = a + tf.tanh(tf.matmul(b, f))
            b = b + tf.tanh(tf.matmul(a, g))
    loss = tf.reduce_mean(tf.square(a + b))
    tf.train.GradientDescentOptimizer(0.1).minimize(loss, name="train")
    open(path, "wb").write(graph.as_graph_def().SerializeToString())
"""


@dataclass(frozen=True)
class Cost:
    """One size: nodes, and seconds and peak bytes of both."""

    nodes: int
    rewrite_seconds: float
    rewrite_bytes: int
    import_seconds: float
    import_bytes: int


def measure(nodes: int, *, compare: bool) -> Cost:
    """Rewrites a training graph of about ``nodes`` nodes, copies of one net side by side."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.pb"), Path(folder, "out.pb")
        count = enlarge(source, nodes)
        ours = _child(_REWRITE, source, target)
        theirs = _child(_IMPORT, source) if compare else {"time": 0.0, "memory": 0}
    return Cost(count, ours["time"], ours["memory"], theirs["time"], theirs["memory"])


def enlarge(path: Path, nodes: int) -> int:
    """Writes renamed copies of one built net, about ``nodes`` nodes; returns how many."""
    from graphrev.io import Format, Model, load, save
    from graphrev.ir import Graph, Node

    _child(_BUILD, 8, path, parse=False)
    one = load(path).graph
    copies = max(1, nodes // len(one))

    def renamed(node: Node, prefix: str) -> Node:
        attrs = {k: v for k, v in node.attrs.items() if k != "_class"}
        return node.evolve(
            name=prefix + node.name,
            inputs=tuple(ref._replace(node=prefix + ref.node) for ref in node.inputs),
            control_inputs=tuple(prefix + name for name in node.control_inputs),
            attrs=attrs,
        )

    many = Graph.of(renamed(n, f"copy{i}/") for i in range(copies) for n in one.nodes.values())
    save(Model(Graph(many.nodes, versions=one.versions), Format.GRAPH_BINARY, ""), path)
    return len(many)


def _child(code: str, *args: object, parse: bool = True) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1]) if parse else {}


def own_peak() -> int:
    """Peak bytes of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
