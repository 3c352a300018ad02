"""Random programs: loops, branches and functions nested around residual pairs, before and after.

Usage: python -m tools.fuzz.nests [--count 500] [--seed 0] [--quick]

Each program is built as a TensorFlow graph with its gradients, rewritten, and both graphs are run
for two inputs with a time limit: losses and gradients must agree. A program that fails is shrunk by
hypothesis and printed.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import hypothesis
import numpy as np
import tensorflow
from hypothesis import strategies as st

import graphrev
from graphrev.io import decode_graph, encode_graph
from graphrev.ir import Graph
from graphrev.passes import Recompute, Reversible
from graphrev.pipeline import run

tf: Any = tensorflow.compat.v1
WIDTH, ROWS = 4, 2
LIMIT = 60_000
"""Milliseconds a step may take."""


@dataclass(frozen=True)
class Step:
    """A step of a program: what it does, how often or which way, and the steps inside it."""

    kind: str
    number: int = 0
    inside: tuple[tuple[Step, ...], ...] = ()


def _leaf() -> st.SearchStrategy[Step]:
    kinds = st.sampled_from(("pair", "pair", "pair", "swap", "plain", "region"))
    return st.builds(Step, kinds, st.integers(0, 2))


def _around(inner: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
    block = st.lists(inner, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Step, st.just("while"), st.integers(0, 3), st.tuples(block)),
        st.builds(Step, st.just("cond"), st.integers(0, 1), st.tuples(block, block)),
        st.builds(Step, st.just("call"), st.just(0), st.tuples(block)),
    )


STEPS = st.recursive(_leaf(), _around, max_leaves=6)
PROGRAMS = st.lists(STEPS, min_size=1, max_size=3).map(tuple)


def layer(x: Any, name: str) -> Any:
    """What a half computes: two products, and what is not linear between them."""
    with tf.variable_scope(name, reuse=tf.AUTO_REUSE):
        normal = tf.random_normal_initializer(stddev=0.3, seed=sum(map(ord, name)))
        first = tf.get_variable("a", [WIDTH, WIDTH], initializer=normal, use_resource=True)
        second = tf.get_variable("b", [WIDTH, WIDTH], initializer=normal, use_resource=True)
        return tf.tanh(tf.matmul(tf.nn.relu(tf.matmul(x, first)), second))


def _pair(step: Step, a: Any, b: Any) -> tuple[Any, Any]:
    with graphrev.residual_pair():
        a = a + layer(b, f"f{step.number}")
        return a, b + layer(a, f"g{step.number}")


def _region(step: Step, a: Any, b: Any) -> tuple[Any, Any]:
    with graphrev.recompute_scope():
        return layer(layer(a, f"f{step.number}"), "h"), b


def _while(step: Step, a: Any, b: Any, n: Any) -> tuple[Any, Any]:
    def body(i: Any, a: Any, b: Any) -> Any:
        return (i + 1, *steps(step.inside[0], a, b, n))

    return tf.while_loop(lambda i, *_: i < step.number, body, [0, a, b])[1:]


def _cond(step: Step, a: Any, b: Any, n: Any) -> tuple[Any, Any]:
    first, second = step.inside
    taken = n > step.number
    return tf.cond(taken, lambda: steps(first, a, b, n), lambda: steps(second, a, b, n))


def _call(step: Step, a: Any, b: Any, n: Any) -> tuple[Any, Any]:
    return tensorflow.function(lambda a, b, n: steps(step.inside[0], a, b, n))(a, b, n)


_INSIDE: dict[str, Callable[..., tuple[Any, Any]]] = {
    "while": _while,
    "cond": _cond,
    "call": _call,
}
_LEAVES: dict[str, Callable[[Step, Any, Any], tuple[Any, Any]]] = {
    "pair": _pair,
    "region": _region,
    "swap": lambda step, a, b: (b, a),
    "plain": lambda step, a, b: (layer(a, "p") * 0.5, tf.sin(b)),
}


def steps(program: Sequence[Step], a: Any, b: Any, n: Any) -> tuple[Any, Any]:
    """Builds the steps one after another."""
    for step in program:
        if step.kind in _INSIDE:
            a, b = _INSIDE[step.kind](step, a, b, n)
        else:
            a, b = _LEAVES[step.kind](step, a, b)
    return a, b


def build(program: Sequence[Step], *, functional: bool) -> tuple[Graph, list[str]]:
    """The program with its gradients, and what to fetch."""
    switch = tf.enable_control_flow_v2 if functional else tf.disable_control_flow_v2
    enabled = tf.control_flow_v2_enabled()
    switch()
    try:
        with tf.Graph().as_default() as graph:
            tf.set_random_seed(1)
            x = tf.placeholder(tf.float32, [ROWS, WIDTH], name="x")
            n = tf.placeholder(tf.int32, [], name="n")
            for name in ("f0", "f1", "f2", "g0", "g1", "g2", "h", "p"):
                layer(x, name)  # variables are made outside of branches and loops
            a, b = steps(program, x, x * 0.5 + 1.0, n)
            loss = tf.reduce_mean(tf.square(a) + b, name="loss")
            found = tf.gradients(loss, [x, *tf.trainable_variables()])
            names = [tf.identity(tf.convert_to_tensor(g)).name for g in found if g is not None]
            tf.variables_initializer(tf.global_variables(), name="init")
        return decode_graph(graph.as_graph_def().SerializeToString()), [loss.name, *names]
    finally:
        (tf.enable_control_flow_v2 if enabled else tf.disable_control_flow_v2)()


def values(graph: Graph, names: Sequence[str]) -> list[Any]:
    """Losses and gradients, for each way that branches may go."""
    with tf.Graph().as_default() as live:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        x = np.random.RandomState(0).randn(ROWS, WIDTH).astype(np.float32)
        options = tf.RunOptions(timeout_in_ms=LIMIT)
        with tf.Session(graph=live) as session:
            session.run("init")
            found = [
                session.run(list(names), {"x:0": x, "n:0": way}, options=options) for way in (0, 2)
            ]
        return [value for row in found for value in row]


def check(program: Sequence[Step], *, functional: bool) -> Counter[str]:
    """Runs a program before and after; returns what came of it, and the codes of what was refused.

    Raises:
        AssertionError: the graphs disagree.
    """
    before, names = build(program, functional=functional)
    done = run(before, [Reversible(), Recompute()])
    codes = {f"refused {r.code.value}" for step in done.steps for r in step.plan.rejections}
    if done.after is before:
        return Counter({"unchanged", *codes})
    for one, two in zip(values(before, names), values(done.after, names)):
        off, size = np.linalg.norm(np.subtract(one, two)), np.linalg.norm(one)
        assert off <= 1e-4 * size + 1e-6 and math.isfinite(off), f"off by {off} of {size}"
    return Counter({"rewritten and equal", *codes})


def sweep(count: int, seed: int, *, quick: bool = False) -> Counter[str]:
    """Checks ``count`` programs; says what came of them.

    Args:
        quick: fail without looking for a smaller program.
    """
    seen: Counter[str] = Counter()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=(hypothesis.Phase.generate,) if quick else tuple(hypothesis.Phase),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(PROGRAMS, st.sampled_from((False, True)))
    def checked(program: tuple[Step, ...], functional: bool) -> None:
        seen.update(check(program, functional=functional))
        seen["programs"] += 1
        seen["functional"] += functional
        if seen["programs"] % 50 == 0:
            print(dict(seen), flush=True)

    checked()
    return seen


def main() -> None:
    """Sweeps and prints."""
    parser = argparse.ArgumentParser(prog="tools.fuzz.nests", description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="do not shrink a program that fails")
    args = parser.parse_args()
    start = time.monotonic()
    seen = sweep(args.count, args.seed, quick=args.quick)
    print(f"{dict(seen)} in {time.monotonic() - start:.0f} s: all agree", flush=True)


if __name__ == "__main__":
    main()
