"""Random training programs: whatever is rewritten trains as before, by mark and by structure."""

from __future__ import annotations

import random
from typing import Any

import pytest

import graphrev
from graphrev.ir import Graph
from tests.nets import assert_same_training, dense, rewrite, snapshot, tf

WIDTH = 6


pytestmark = pytest.mark.usefixtures("control_flow_v1")


class Program:
    """Builds one random net; everything follows from the seed."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.resource = self.draw.random() < 0.5
        self.kept: list[Any] = []
        self.shared: list[str] = []
        self.count = 0

    def branch(self, x: Any, others: list[Any]) -> Any:
        """A random f: a few layers over x and perhaps other tensors."""
        h = x
        for _ in range(self.draw.randint(1, 3)):
            h = self.layer(h, others)
        return h

    def layer(self, h: Any, others: list[Any]) -> Any:
        self.count += 1
        name = f"layer{self.count}"
        kind = self.draw.randrange(10)
        if kind == 8:
            return self.conditional(h, name)
        if kind == 0 and others:
            return h * tf.sigmoid(self.draw.choice(others))
        return self.plain_layer(h, name, kind)

    def plain_layer(self, h: Any, name: str, kind: int) -> Any:
        if kind == 1:
            return tf.nn.relu(dense(h, name, resource=self.resource))
        if kind == 2:
            return tf.nn.dropout(h, rate=0.3)
        if kind == 3:
            left, right = tf.split(h, 2, axis=1)
            return tf.concat([right, tf.tanh(left)], 1)
        if kind == 4:
            mean, variance = tf.nn.moments(h, [0], keepdims=True)
            return (h - mean) * tf.rsqrt(variance + 0.1)
        if kind == 5:
            tf.summary.histogram(name, h)
            return h * 0.7 + tf.square(h) * 0.1
        if kind == 6:
            self.kept.append(h)
            return tf.nn.softplus(h)
        if kind == 7 and self.shared:
            with tf.variable_scope(tf.get_variable_scope(), reuse=True):
                return dense(h, self.draw.choice(self.shared), resource=self.resource)
        self.shared.append(name)
        return dense(h, name, resource=self.resource)

    def conditional(self, h: Any, name: str) -> Any:
        """A layer in one branch of a cond; which is taken depends on the batch."""
        taken = tf.reduce_sum(tf.stop_gradient(h)) * self.draw.choice((-1.0, 1.0)) > 0.0
        kinds: list[Any] = [
            lambda: dense(h, name, resource=self.resource),
            lambda: tf.nn.dropout(h, rate=0.3),
            lambda: tf.square(h) * 0.2,
            lambda: tf.cond(tf.reduce_max(h) > 1.0, lambda: tf.tanh(h), lambda: h * 0.5),
        ]
        return tf.cond(taken, self.draw.choice(kinds), self.draw.choice(kinds[1:]))

    def add(self, x: Any, h: Any) -> Any:
        kind = self.draw.randrange(6)
        if kind == 0:
            return tf.add_n([h, x])
        if kind == 1:
            return x - h
        if kind == 2:
            return h - x
        if kind == 3:
            return tf.identity(h + x)
        return x + h

    def build(self) -> Graph:
        with tf.Graph().as_default() as graph:
            tf.set_random_seed(1)
            x = tf.placeholder(tf.float32, [None, 8], name="x")
            side = dense(x, "side", WIDTH, self.resource)
            x1, x2 = tf.split(dense(x, "stem", 2 * WIDTH, self.resource), 2, axis=1)
            for number in range(self.draw.randint(1, 4)):
                if number and self.draw.random() < 0.2:
                    x1, x2 = dense(x1, f"between{number}", WIDTH, self.resource), x2 * 0.9
                with graphrev.residual_pair():
                    y1 = self.add(x1, self.branch(x2, [side]))
                    y2 = self.add(x2, self.branch(y1, [side]))
                if self.draw.random() < 0.3:
                    self.kept.append(y1)
                x1, x2 = (y2, y1) if self.draw.random() < 0.3 else (y1, y2)
            self.train(x1, x2)
            return snapshot(graph)

    def train(self, x1: Any, x2: Any) -> None:
        loss = tf.reduce_mean(tf.square(x1) + tf.tanh(x2))
        for tensor in self.kept[:3]:
            loss += 0.1 * tf.reduce_mean(tf.square(tensor))
        choice = self.draw.randrange(3)
        if choice == 0:
            optimizer = tf.train.AdamOptimizer(0.01)
        elif choice == 1:
            optimizer = tf.train.MomentumOptimizer(0.1, 0.9)
        else:
            optimizer = tf.train.GradientDescentOptimizer(0.1)
        optimizer.minimize(tf.identity(loss, name="loss"), name="train")


def check(seed: int) -> int:
    """Rewrites the program in three ways; returns how many blocks were found."""
    graph = Program(seed).build()
    found = 0
    for options in (
        {"detect": "marked"},
        {"detect": "structural"},
        {"detect": "structural", "random": "stateless", "anchor_every": 2},
    ):
        outcome, plan = rewrite(graph, **options)
        found += len(plan.blocks)
        if plan.blocks:
            assert_same_training(graph, outcome.after, seed=seed)
            again, _ = rewrite(outcome.after, **options)
            assert again.after is outcome.after
    return found


def test_few_random_programs_train_as_before() -> None:
    assert sum(check(seed) > 0 for seed in range(6)) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("start", range(100, 160, 20))
def test_many_random_programs_train_as_before(start: int) -> None:
    assert sum(check(seed) > 0 for seed in range(start, start + 20)) >= 12
