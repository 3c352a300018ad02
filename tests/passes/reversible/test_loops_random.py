"""Random programs of loops, branches and residual pairs: rewritten ones train as before."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from graphrev.analysis.frames_loops import find_frames
from graphrev.io import decode_graph, encode_graph
from tests.nets import rewrite
from tests.passes.reversible.loop_nets import Net, build, tf, values, weight

COUNTS = (0, 1, 4)


class Program:
    """Builds one random net; everything follows from the seed."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.resource = self.draw.random() < 0.7
        self.scale = 0.5

    def function(self, x: Any, i: Any, others: Sequence[Any]) -> Any:
        """A random f of x."""
        for _ in range(self.draw.randint(1, 2)):
            x = self.layer(x, i, others)
        return x * self.scale

    def layer(self, x: Any, i: Any, others: Sequence[Any]) -> Any:
        kind = self.draw.randrange(9)
        if kind == 0:
            return tf.sin(x) * tf.cast(i + 1, tf.float32) * 0.1
        if kind == 1 and others:
            return tf.tanh(x) * tf.sigmoid(self.draw.choice(others))
        if kind == 2:
            seed = tf.stack([i, self.draw.randint(1, 99)])
            return x * tf.round(tf.random.stateless_uniform(x.shape, seed) + 0.3)
        if kind == 3:
            left, right = tf.split(x, 2, axis=1)
            return tf.concat([right, tf.tanh(left)], 1)
        if kind == 4:
            return (x - tf.reduce_mean(x, 0, keepdims=True)) * 0.7
        if kind == 5:
            return tf.reshape(tf.tanh(tf.reshape(x, [-1])), tf.shape(x))
        with tf.variable_scope("weights", reuse=tf.AUTO_REUSE):
            name = f"w{self.draw.randint(0, 3)}"
            return tf.tanh(tf.matmul(x, weight(name, self.resource)))

    def others(self, x: Any, count: int) -> list[Any]:
        """What else the loop carries; makes the variables, which must not be made inside."""
        with tf.variable_scope("weights", reuse=tf.AUTO_REUSE):
            first, *_ = (weight(f"w{number}", self.resource) for number in range(4))
        return [tf.matmul(x, first) * 0.1 * (number + 1) for number in range(count)]

    def add(self, x: Any, h: Any) -> Any:
        kind = self.draw.randrange(5)
        if kind == 0:
            return x - h
        if kind == 1:
            return tf.add_n([h, x])
        return h + x if kind == 2 else x + h

    def pair(self, i: Any, a: Any, b: Any, others: Sequence[Any]) -> tuple[Any, Any]:
        a = self.add(a, self.function(b, i, others))
        return a, self.add(b, self.function(a, i, others))

    def body(self) -> Any:
        pairs, plain = self.draw.randint(1, 3), self.draw.random() < 0.6
        swap, extra = self.draw.random() < 0.3, self.draw.random() < 0.4
        branch = self.draw.random() < 0.3
        state = self.draw.getstate()

        def body(i: Any, a: Any, b: Any, *others: Any) -> list[Any]:
            self.draw.setstate(state)
            if not plain:
                a = tf.sin(a) * 0.9
            for _ in range(pairs):
                a, b = self.pair(i, a, b, others)
            if not plain and branch:
                b = tf.cond(i > 1, lambda: tf.tanh(b), lambda: b * 0.5)
            if extra and others:
                others = (others[0] * 0.5 + tf.square(a) * 0.1, *others[1:])
            return [i + 1, b, a, *others] if swap else [i + 1, a, b, *others]

        return body

    def around(self) -> Any:
        kind = self.draw.randrange(5)
        if kind == 0:
            # Up to 32 pairs follow each other: if values grew with each, so would the rounding.
            self.scale = 0.2
            before, after = (self.draw.random() < 0.5 for _ in range(2))
            state = self.draw.getstate()

            def nested(loop: Any, start: Any, n: Any) -> Any:
                def outer(j: Any, a: Any, b: Any, *others: Any) -> list[Any]:
                    self.draw.setstate(state)
                    if before:
                        a, b = self.pair(j, a, b, others)
                    inner = self.draw.getstate()
                    _, a, b, *others = loop([0, a, b, *others], "inner")
                    self.draw.setstate(inner)
                    if after:
                        a, b = self.pair(j, a, b, others)
                    return [j + 1, a, b, *others]

                return tf.while_loop(lambda j, *_: j < 2, outer, start, name="outer")

            return nested
        if kind == 1:

            def branched(loop: Any, start: Any, n: Any) -> Any:
                return tf.cond(n > 1, lambda: tuple(loop()), lambda: (tf.constant(0), *start[1:]))

            return branched
        return None

    def net(self) -> Net:
        options: dict[str, Any] = {}
        if self.draw.random() < 0.2:
            options["swap_memory"] = True
        if self.draw.random() < 0.2:
            options["parallel_iterations"] = self.draw.randint(1, 3)
        others = self.draw.randint(0, 2)
        return Net(
            self.body(),
            others=lambda x, n: self.others(x, others),
            around=self.around(),
            options=options,
            optimizer=self.draw.choice(
                [
                    lambda: tf.train.GradientDescentOptimizer(0.01),
                    lambda: tf.train.MomentumOptimizer(0.01, 0.9),
                    lambda: tf.train.AdamOptimizer(0.01),
                ]
            ),
        )


def check(seed: int) -> int:
    """Rewrites the program, perhaps with anchors; returns how many loops were."""
    program = Program(seed)
    live, names = build(program.net())
    serialized = live.as_graph_def().SerializeToString()
    graph = decode_graph(serialized)
    every = random.Random(seed).choice([None, None, 1, 2])
    run, plan = rewrite(graph, anchor_every=every)
    if run.after is graph:
        return 0
    assert find_frames(run.after).faults == ()
    again, _ = rewrite(run.after, anchor_every=every)
    assert again.after is run.after, seed
    plain, changed = (
        values(serialized, names, COUNTS),
        values(encode_graph(run.after), names, COUNTS),
    )
    for count, left, right in zip(COUNTS, plain, changed):
        for name, expected, found in zip(names, left, right):
            error = np.linalg.norm(expected - found) / (np.linalg.norm(expected) + 1e-6)
            assert error < 2e-4, (seed, count, name, error)
    return len(plan.loops)


def test_few_random_loops_train_as_before() -> None:
    assert sum(check(seed) > 0 for seed in range(5)) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("start", range(100, 600, 20))
def test_many_random_loops_train_as_before(start: int) -> None:
    assert sum(check(seed) > 0 for seed in range(start, start + 20)) >= 10
