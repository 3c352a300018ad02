"""Loading and reading variables of a private copy."""

from __future__ import annotations

import numpy as np

from graphrev.verification.sessions import Runner
from tests.nets import snapshot, tf


def test_variables_of_both_kinds_are_loaded_and_read_beside_nodes_of_any_name() -> None:
    with tf.Graph().as_default() as live:
        for name, resource in (("graphrev_access", False), ("graphrev_access_/0/value", True)):
            tf.get_variable(name, [2], initializer=tf.zeros_initializer(), use_resource=resource)
        graph = snapshot(live)
    values = {"graphrev_access": np.float32([1, 2]), "graphrev_access_/0/value": np.float32([3, 4])}
    with Runner(graph, "only") as runner:
        assert set(runner.initial_values()) == set(values)
        assert set(runner.initial_values(known=["graphrev_access"])) == set(list(values)[1:])
        runner.load({**values, "elsewhere": np.float32(1)})
        found = runner.variables()
    assert {name: value.tolist() for name, value in found.items()} == {
        name: value.tolist() for name, value in values.items()
    }
