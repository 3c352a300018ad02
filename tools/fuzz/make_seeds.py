"""Makes the small graphs that most inputs are mutated from: ``python -m tools.fuzz.make_seeds``.

Each is the smallest graph found that a pass still rewrites, shrunk from a training graph of the
fixtures by the same search that ``graphrev reduce`` uses. On twenty nodes instead of a thousand a
mutation is fifty times cheaper and nearly always meets the pattern that the pass looks for. A few
nets that no fixture holds (masks, regions, functional loops and branches) are built here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from graphrev import api
from graphrev.diff.reduction import reduce_graph
from graphrev.errors import GraphrevError
from graphrev.io import decode_graph, encode_graph
from graphrev.ir import Graph
from graphrev.marks import recompute_scope, residual_pair
from graphrev.passes import REGISTRY
from graphrev.pipeline import run
from graphrev.pipeline.spec import parse_pass

FIXTURES = Path(__file__).resolve().parents[2] / "tests" / "fixtures"
SEEDS = Path(__file__).resolve().parent / "seeds"
_STRUCTURAL = "reversible{detect=structural}"
_STATELESS = "reversible{detect=structural,random=stateless}"
_MASK = "mask{sparsity=0.5,first=masked,last=masked}"
_MOVEMENT = "mask{sparsity=0.5,first=masked,last=masked,include=parts,criterion=movement}"
SOURCES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "branch": ("cond_block", _STRUCTURAL),
        "devices": ("devices", _STRUCTURAL),
        "dropout": ("dropout", _STRUCTURAL),
        "heads": ("aux_head", _STRUCTURAL),
        "loop": ("while_block", _STRUCTURAL),
        "recurrent": ("recurrent", "recompute{frames=^rnn/}"),
        "references": ("revnet_ref", _STRUCTURAL),
        "side": ("side_inputs", _STRUCTURAL),
        "split": ("split1", _STRUCTURAL),
        "stateless": ("dropout", _STATELESS),
        "sums": ("sums", _STRUCTURAL),
    }
)
"""Seed by name: the fixture it is cut from, and the pass that must still change it."""
BUILT: Mapping[str, str | None] = MappingProxyType(
    {
        "masked": _MASK,
        "parts": _MOVEMENT,
        "forward": "reversible",
        "regions": "recompute",
        "functional": None,
    }
)
"""Seed by name: built by :func:`_built`; without a pass it is kept as it is."""


def changes(graph: Graph, spec: str) -> bool:
    """Whether a pass rewrites a graph."""
    try:
        return bool(run(graph, [parse_pass(spec, REGISTRY)]).edits)
    except GraphrevError:
        return False


def main() -> None:
    """Writes every seed, and what the pass makes of it."""
    SEEDS.mkdir(exist_ok=True)
    for name, (fixture, spec) in SOURCES.items():
        _write(name, api.load(FIXTURES / f"{fixture}.meta.gz").graph, spec)
    for name, spec in BUILT.items():
        _write(name, _built(name), spec)


def _write(name: str, graph: Graph, spec: str | None) -> None:
    small = graph
    if spec is not None:
        assert changes(graph, spec), f"{spec} leaves {name} alone"
        small = reduce_graph(graph, lambda candidate: changes(candidate, spec))
        rewritten = run(small, [parse_pass(spec, REGISTRY)]).after
        (SEEDS / f"{name}-rewritten.pb").write_bytes(encode_graph(rewritten))
    (SEEDS / f"{name}.pb").write_bytes(encode_graph(small))
    print(f"{name}: {len(graph)} nodes to {len(small)}")


def _built(name: str) -> Graph:
    """A net that no fixture holds."""
    import tensorflow

    tf: Any = tensorflow.compat.v1
    with tf.Graph().as_default() as live:
        tf.set_random_seed(1)
        x = tf.placeholder(tf.float32, [4, 8], "x")
        w = tf.get_variable("w", [8, 8], use_resource=False)
        first, second = tf.split(tf.matmul(x, w), 2, 1)
        _layers(tf, name, first, second)
        return decode_graph(live.as_graph_def().SerializeToString())


def _layers(tf: Any, name: str, first: Any, second: Any) -> None:
    v = tf.get_variable("v", [4, 4], use_resource=True)
    if name == "forward":
        with residual_pair():
            first = first + tf.tanh(tf.matmul(second, v))
            second = second + tf.sin(first)
    elif name == "regions":
        with recompute_scope():
            first = tf.tanh(tf.matmul(tf.sin(first), v))
    elif name == "parts":
        split = tf.fixed_size_partitioner(2)
        with tf.variable_scope("parts", partitioner=split, use_resource=False):
            first = tf.matmul(first, tf.convert_to_tensor(tf.get_variable("kernel", [4, 4])))
    elif name == "functional":
        first = tf.cond(tf.reduce_sum(second) > 0.0, lambda: tf.matmul(first, v), lambda: first)
        first, second = tf.while_loop(
            lambda a, b: tf.reduce_sum(a) > 1.0,
            lambda a, b: (a * 0.5 + tf.tanh(tf.matmul(b, v)), b + tf.sin(a) * 0.1),
            (first, second),
            maximum_iterations=3,
        )
    loss = tf.reduce_mean(tf.square(first) + second, name="loss")
    if name != "forward":
        step = tf.train.get_or_create_global_step()
        tf.train.GradientDescentOptimizer(0.1).minimize(loss, step, name="train")


if __name__ == "__main__":
    main()
