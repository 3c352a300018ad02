"""One process of a cluster: a parameter server, or a worker that trains what it is told to.

Run as ``python -m tests.cluster.job PLAN.json``; the plan names the addresses, this process's place
and the trainings. Losses, traffic and placements are written beside it as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow
from tensorflow.python.training import session_manager

import graphrev

tf: Any = tensorflow.compat.v1
WIDTH, BATCH, PAIRS = 32, 256, 4
EXACT = ("reversible", "recompute")
MASK = "mask{sparsity=0.5,begin=5,end=25,frequency=5,schedule=polynomial}"


class _Impatient(session_manager.SessionManager):  # type: ignore[misc]
    """Looks every half second whether the first worker is ready, not every 30 seconds."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "recovery_wait_secs": 0.5})


session_manager.SessionManager = _Impatient


def batch(step: int) -> Any:
    """What is fed at a step; the same on every worker, so that losses do not depend on who wins."""
    return np.random.default_rng(step).standard_normal((BATCH, WIDTH)).astype(np.float32)


def dense(x: Any, name: str) -> Any:
    with tf.variable_scope(name):
        start = tf.random_normal_initializer(stddev=0.15, seed=sum(map(ord, name)))
        kernel = tf.get_variable("kernel", [x.shape[1], x.shape[1]], initializer=start)
        return tf.tanh(tf.matmul(x, kernel))


def loss_of(x: Any) -> Any:
    """The loss: marked pairs, then a region that is computed again."""
    x1, x2 = tf.split(dense(x, "stem"), 2, axis=1)
    for number in range(PAIRS):
        with graphrev.residual_pair():
            x1 = x1 + dense(x2, f"f{number}")
            x2 = x2 + dense(x1, f"g{number}")
    y = tf.concat([x1, x2], 1)
    with graphrev.recompute_scope():
        y = dense(tf.nn.softplus(dense(y, "head0")), "head1")
    return tf.reduce_mean(tf.square(y - 0.5 * tf.roll(x, 1, 1)), name="loss")


def build(optimizer: Any) -> dict[str, Any]:
    """The training graph on the default graph."""
    loss = loss_of(tf.placeholder(tf.float32, [BATCH, WIDTH], name="x"))
    step = tf.train.get_or_create_global_step()
    train = optimizer.minimize(loss, global_step=step, name="train")
    return {"loss": loss, "train": train, "step": step}


def optimizer_of(training: dict[str, Any], workers: int) -> Any:
    plain = tf.train.GradientDescentOptimizer(0.05)
    if not training.get("sync"):
        return plain
    return tf.train.SyncReplicasOptimizer(plain, workers, workers)


def construct(training: dict[str, Any], optimizer: Any, folder: Path) -> dict[str, Any]:
    """Builds the graph as the training says: plain, live, by decorator, or from a file."""
    passes, how = tuple(training["passes"]), training["how"]
    if how == "decorator":
        return graphrev.rewritten(*passes)(build)(optimizer)
    if how == "imported":
        return _imported(passes, optimizer, folder / f"{training['name']}.meta")
    made = build(optimizer)
    if passes:
        result = graphrev.rewrite(tf.get_default_graph(), passes)
        made["crossings"] = [str(item) for item in result.report.new_crossings]
    return made


def _imported(passes: tuple[str, ...], optimizer: Any, path: Path) -> dict[str, Any]:
    setter = tf.get_default_graph()._device_functions_outer_to_inner
    with tf.Graph().as_default() as other, tf.device(setter[0]):
        other.seed = 1
        build(optimizer)
        tf.train.Saver(name="save")
        tf.train.export_meta_graph(str(path), as_text=False)
    graphrev.rewrite(path, passes).save(path, overwrite=True)
    tf.train.import_meta_graph(str(path))
    graph = tf.get_default_graph()
    return {
        "loss": graph.get_tensor_by_name("loss:0"),
        "train": graph.get_operation_by_name("train"),
        "step": tf.train.get_global_step(),
    }


class Traffic:
    """What one step sends between processes, from the graphs that TensorFlow cut it into."""

    def __init__(self) -> None:
        self.metadata = tf.RunMetadata()
        self.options = tf.RunOptions(
            trace_level=tf.RunOptions.FULL_TRACE, output_partition_graphs=True
        )

    def bytes(self) -> dict[str, int]:
        """Bytes by tensor and receiving process; a control edge takes none."""
        found: dict[str, int] = {}
        for part in self.metadata.partition_graphs:
            constants = {node.name for node in part.node if node.op == "Const"}
            for node in part.node:
                if node.op not in ("_Send", "_HostSend"):
                    continue
                sender = _task(node.attr["send_device"].s.decode())
                receiver = _task(node.attr["recv_device"].s.decode())
                if sender != receiver:
                    source = node.input[0]
                    size = _size(source, node.attr["T"].type, source in constants)
                    found[f"{source} to {receiver}"] = size
        return found


def _task(device: str) -> str:
    return "/".join(p for p in device.split("/") if p.startswith(("job:", "task:")))


def _size(source: str, kind: int, constant: bool) -> int:
    """Bytes of a tensor of this graph; what the runtime added stands for a control edge."""
    name, _, slot = source.partition(":")
    try:
        tensor = tf.get_default_graph().get_operation_by_name(name).outputs[int(slot or 0)]
    except KeyError:
        assert constant, f"the runtime sends {source}, which is of unknown size"
        return 0
    return int(np.prod(tensor.shape.as_list(), initial=1)) * tf.as_dtype(kind).base_dtype.size


@contextmanager
def placed(plan: dict[str, Any], training: dict[str, Any]) -> Iterator[None]:
    """A new graph, variables on the parameter server, everything else on this worker."""
    worker = f"/job:worker/task:{plan['task']}"
    setter = tf.train.replica_device_setter(cluster=plan["cluster"], worker_device=worker)
    with tf.Graph().as_default(), tf.container(training["name"]), tf.device(setter):
        tf.set_random_seed(1)
        yield


def _alone_with_servers(task: int) -> Any:
    """A session that does not wait for other workers, which may have ended."""
    return tf.ConfigProto(device_filters=["/job:ps", f"/job:worker/task:{task}"])


def run(plan: dict[str, Any], training: dict[str, Any], server: Any) -> dict[str, Any]:
    """One training; returns what it saw."""
    folder, chief = Path(plan["folder"]), plan["task"] == 0
    with placed(plan, training):
        optimizer = optimizer_of(training, plan["workers"])
        made = construct(training, optimizer, folder)
        hooks = [optimizer.make_session_run_hook(chief)] if training.get("sync") else []
        seen: dict[str, Any] = {"losses": {}, "crossings": made.get("crossings", [])}
        with tf.train.MonitoredTrainingSession(
            master=server.target,
            config=_alone_with_servers(plan["task"]),
            is_chief=chief,
            hooks=hooks,
            checkpoint_dir=str(folder / f"{training['name']}-checkpoints"),
            save_checkpoint_steps=training.get("save_every", 1000),
            save_summaries_steps=None,
            save_summaries_secs=None,
            log_step_count_steps=None,
            stop_grace_period_secs=5,
        ) as session:
            _train(session, made, training, seen, chief, folder / f"{training['name']}-progress")
        return seen


def _train(
    session: Any,
    made: dict[str, Any],
    training: dict[str, Any],
    seen: dict[str, Any],
    chief: bool,
    progress: Path,
) -> None:
    for turn in range(10**6):
        now = int(session.run(made["step"]))
        if now >= training["steps"]:
            break
        traffic = Traffic() if chief and turn == 3 else None
        feeds = {"x:0": batch(now)}
        more = {"options": traffic.options, "run_metadata": traffic.metadata} if traffic else {}
        loss, at, _ = session.run([made["loss"], made["step"], made["train"]], feeds, **more)
        if int(at) == now or not training.get("sync"):  # else the others were faster than this run
            seen["losses"].setdefault(str(now), float(loss))
        if traffic:
            seen["traffic"] = traffic.bytes()
        if chief:
            progress.write_text(str(now))
        time.sleep(training.get("pause", 0.0))
    if chief:
        seen["last"] = float(session.run(made["loss"], {"x:0": batch(10**6)}))
        masks = [v for v in tf.global_variables() if v.op.name.endswith("/mask")]
        seen["masks"] = {v.op.name: [v.device, float(session.run(v).mean())] for v in masks}


def main(path: str) -> None:
    """Takes its place in the cluster."""
    plan = json.loads(Path(path).read_text())
    server = tf.distribute.Server(plan["cluster"], job_name=plan["job"], task_index=plan["task"])
    if plan["job"] == "ps":
        server.join()
    for training in plan["trainings"]:
        if plan["task"] and training.get("alone"):
            continue
        result = run(plan, training, server)
        target = Path(plan["folder"], f"{training['name']}-{plan['task']}.json")
        draft = target.with_suffix(".draft")
        draft.write_text(json.dumps(result))
        with suppress(OSError):
            draft.rename(target)


if __name__ == "__main__":
    tf.disable_v2_behavior()
    main(sys.argv[1])
