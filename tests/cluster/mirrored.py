"""Trains under ``MirroredStrategy`` on two virtual processors, a graph for each training.

Run as ``python -m tests.cluster.mirrored FOLDER``; what was seen is written there as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow

import graphrev
from graphrev.ir.deferred import CLONE_ATTR
from tests.cluster.job import BATCH, EXACT, MASK, WIDTH, batch, loss_of

tf: Any = tensorflow.compat.v1
STEPS = 40
TRAININGS: dict[str, tuple[str, Sequence[str]]] = {
    "plain": ("live", ()),
    "live": ("live", EXACT),
    "decorator": ("decorator", EXACT),
    "imported": ("imported", EXACT),
    "masked": ("live", (MASK,)),
    "all": ("imported", (MASK, *EXACT)),
}


def build(loss_of_replica: Callable[[Any], Any]) -> None:
    """The training graph on the default graph: running ``step:0`` trains on what ``x:0`` is fed."""
    strategy = tensorflow.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    with strategy.scope():
        optimizer = tf.train.MomentumOptimizer(0.02, 0.5)
        step = tf.train.get_or_create_global_step()
        halves = tf.split(tf.placeholder(tf.float32, [2 * BATCH, WIDTH], name="x"), 2)

        def train() -> Any:
            replica = tensorflow.distribute.get_replica_context().replica_id_in_sync_group
            with tf.variable_scope("", reuse=tf.AUTO_REUSE):
                loss = loss_of_replica(halves[int(tf.get_static_value(replica))])
            with tf.control_dependencies([optimizer.minimize(loss, global_step=step)]):
                return tf.identity(loss)

        mean = tensorflow.distribute.ReduceOp.MEAN
        tf.identity(strategy.reduce(mean, strategy.run(train), axis=None), name="step")
        tf.variables_initializer(tf.global_variables(), name="init")


def constructed(how: str, passes: Sequence[str], folder: Path) -> Any:
    """The graph as the training says: live, by decorator, or from a file."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(1)
        build(graphrev.rewritten(*passes)(loss_of) if how == "decorator" else loss_of)
        if how == "live" and passes:
            graphrev.rewrite(graph, passes)
    if how != "imported":
        return graph
    source, target = folder / "graph.pb", folder / "rewritten.pb"
    source.write_bytes(graph.as_graph_def().SerializeToString())
    graphrev.rewrite(source, passes).save(target, overwrite=True)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(tf.GraphDef.FromString(target.read_bytes()), name="")
    return graph


def run(graph: Any) -> dict[str, Any]:
    """Trains and tells what was seen."""
    with tf.Session(graph=graph) as session:
        session.run("init")
        losses = [float(session.run("step:0", {"x:0": _both(step)})) for step in range(STEPS)]
        read = {op.inputs[0].op: op for op in graph.get_operations() if op.type == _READ}
        masks = {
            op.name: [op.device, session.run(read[op].outputs[0]).astype(int).tolist()]
            for op in read
            if op.name.endswith("/mask")
        }
    return {"losses": losses, "masks": masks, "clones": list(_clones(graph))}


_READ = "ReadVariableOp"


def _both(step: int) -> Any:
    """What both replicas are fed together."""
    return np.concatenate([batch(2 * step), batch(2 * step + 1)])


def _clones(graph: Any) -> Iterator[list[str]]:
    """The device of every copy, and of what it is a copy of."""
    for op in graph.get_operations():
        origin = op.node_def.attr[CLONE_ATTR].s.decode() if CLONE_ATTR in op.node_def.attr else ""
        if origin:
            yield [op.device, graph.get_operation_by_name(origin).device]


def main(folder: Path) -> None:
    """Runs all trainings, one after the other."""
    (processor,) = tensorflow.config.list_physical_devices("CPU")
    halves = [tensorflow.config.LogicalDeviceConfiguration()] * 2
    tensorflow.config.set_logical_device_configuration(processor, halves)
    for name, (how, passes) in TRAININGS.items():
        found = run(constructed(how, passes, folder))
        (folder / f"{name}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    tf.disable_eager_execution()
    main(Path(sys.argv[1]))
