"""Loops that keep masks up to date: PruningHook, slim's train, and a running job's checkpoints."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow

from graphrev import pruning
from graphrev.pruning import learning
from tests.cli.runner import assert_refused, invoke

tf: Any = tensorflow.compat.v1
SPEC = "target_sparsity=0.5,sparsity_function_end_step=8,pruning_frequency=1,end_pruning_step=8"


@pytest.fixture(autouse=True)
def graph() -> Iterator[Any]:
    with tf.Graph().as_default() as made:
        yield made


def net() -> tuple[Any, Any]:
    """``(loss, train_op)``; the op gives the loss, as slim's does."""
    step = tf.train.get_or_create_global_step()
    out = pruning.masked_fully_connected(tf.ones([2, 8]), 8, scope="net")
    loss = tf.reduce_mean(tf.square(out - 1.0))
    moved = tf.train.GradientDescentOptimizer(0.1).minimize(loss, global_step=step)
    with tf.control_dependencies([moved]):
        return loss, tf.identity(loss)


def updates() -> Any:
    made = pruning.Pruning(pruning.get_pruning_hparams().parse(SPEC))
    return made.conditional_mask_update_op()


def saved(folder: Path) -> Any:
    """The sparsity, the step of the last update and the global step in the newest checkpoint."""
    reader = tensorflow.train.load_checkpoint(tensorflow.train.latest_checkpoint(str(folder)))
    mask = reader.get_tensor("net/mask")
    last = reader.get_tensor("model_pruning/last_mask_update_step")
    return 1.0 - mask.mean(), int(last), int(reader.get_tensor("global_step"))


def monitored(folder: Path, hook: Any, train_op: Any, steps: int) -> None:
    options = {"checkpoint_dir": str(folder), "hooks": [hook], "log_step_count_steps": None}
    with tf.train.MonitoredTrainingSession(save_summaries_steps=1, **options) as session:
        for _ in range(steps):
            session.run(train_op)


def tags(folder: Path) -> set[str]:
    events = sorted(folder.glob("events.*"))
    found = (event for path in events for event in tf.train.summary_iterator(str(path)))
    return {value.tag for event in found for value in event.summary.value}


@pytest.mark.parametrize("kind", ["text", "spec", "object", "op"])
def test_hook_takes_what_says_how_to_prune(kind: str, tmp_path: Path) -> None:
    _, train_op = net()
    spec = pruning.get_pruning_hparams().parse(SPEC)
    given = {
        "text": lambda: SPEC,
        "spec": lambda: spec,
        "object": lambda: pruning.Pruning(spec),
        "op": updates,
    }
    monitored(tmp_path, pruning.PruningHook(given[kind]()), train_op, 10)
    assert saved(tmp_path) == (0.5, 8, 10)
    assert ("model_pruning_summaries/net/mask/sparsity" in tags(tmp_path)) == (kind != "op")


def test_hook_goes_on_where_the_job_was_stopped(tmp_path: Path) -> None:
    for steps, want in ((4, (0.4375, 4, 4)), (6, (0.5, 8, 10))):
        with tf.Graph().as_default():
            _, train_op = net()
            monitored(tmp_path, pruning.PruningHook(SPEC), train_op, steps)
        assert saved(tmp_path) == want


def test_hook_without_arguments_uses_the_defaults(tmp_path: Path) -> None:
    _, train_op = net()
    monitored(tmp_path, pruning.PruningHook(), train_op, 10)
    share, last, _ = saved(tmp_path)
    assert last == 10 and 0.0 < share < 0.5


def test_hook_refuses_what_says_nothing() -> None:
    with pytest.raises(TypeError, match="PruningHook takes"):
        pruning.PruningHook(3)


def test_hook_without_summaries_adds_none() -> None:
    net()
    pruning.PruningHook(SPEC, summaries=False).begin()
    assert not tf.get_collection(tf.GraphKeys.SUMMARIES)


def test_hook_gives_a_step_for_a_loop_like_slims(tmp_path: Path) -> None:
    _, train_op = net()
    step = pruning.PruningHook(SPEC).train_step()
    loss = learning.train(
        train_op, str(tmp_path), tf.no_op(), train_step_fn=step, number_of_steps=9
    )
    assert float(loss) > 0.0
    assert saved(tmp_path)[:2] == (0.5, 8)


def test_train_prunes_and_returns_the_loss(tmp_path: Path) -> None:
    _, train_op = net()
    loss = pruning.train(train_op, str(tmp_path), updates(), number_of_steps=10)
    assert float(loss) >= 0.0
    assert saved(tmp_path) == (0.5, 8, 10)


def test_train_without_a_folder_writes_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    _, train_op = net()
    assert float(pruning.train(train_op, None, updates(), number_of_steps=3)) >= 0.0
    assert not list(tmp_path.iterdir())


def test_train_calls_the_step_it_is_given() -> None:
    _, train_op = net()
    seen: list[Any] = []

    def step(session: Any, op: Any, global_step: Any, options: Any) -> Any:
        seen.append((op is train_op, sorted(options)))
        return session.run(op), len(seen) == 4

    pruning.train(train_op, None, updates(), train_step_fn=step)
    assert len(seen) == 4
    assert seen[0] == (True, ["should_log", "should_stop", "summary_writer"])


def test_train_stops_when_the_input_ends() -> None:
    _, train_op = net()
    taken: list[int] = []

    def step(*_: Any) -> Any:
        taken.append(1)
        if len(taken) == 3:
            raise tensorflow.errors.OutOfRangeError(None, None, "no more")
        return 0.5, False

    assert pruning.train(train_op, None, updates(), train_step_fn=step) == 0.5


def test_train_writes_traces(tmp_path: Path) -> None:
    _, train_op = net()
    pruning.train(train_op, str(tmp_path), updates(), number_of_steps=4, trace_every_n_steps=2)
    assert list(tmp_path.glob("tf_trace-*.json"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"train_op": None}, "train_op cannot be None"),
        ({"logdir": None, "trace_every_n_steps": 1}, "trace_every_n_steps because logdir=None"),
        ({"logdir": None, "summary_op": None}, "summary_op because logdir=None"),
        ({"number_of_steps": 0}, "None or a positive number"),
        ({"sync_optimizer": [3]}, "must be a tf.train.SyncReplicasOptimizer"),
        ({"sync_optimizer": [3], "startup_delay_steps": 2}, "startup_delay_steps must be zero"),
    ],
)
def test_train_refuses(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    _, train_op = net()
    given = {"train_op": train_op, "logdir": str(tmp_path), **options}
    with pytest.raises(ValueError, match=said):
        pruning.train(mask_update_op=tf.no_op(), **given)


def test_train_has_contribs_arguments() -> None:
    given = inspect.signature(pruning.train).parameters
    assert list(given)[:5] == [
        "train_op",
        "logdir",
        "mask_update_op",
        "train_step_fn",
        "train_step_kwargs",
    ]
    assert len(given) == 25


def test_cli_reports_a_running_jobs_newest_checkpoint(tmp_path: Path, capsys: Any) -> None:
    _, train_op = net()
    monitored(tmp_path, pruning.PruningHook(SPEC), train_op, 10)
    outcome = invoke(capsys, "checkpoint", tmp_path, "--sparsity", "--json")
    assert outcome.code == 0
    (row,) = json.loads(outcome.out)["kernels"]
    assert (row["kernel"], row["weights"], row["zeros"]) == ("net/weights", 64, 32)


def test_cli_refuses_to_write_what_it_is_to_report(tmp_path: Path, capsys: Any) -> None:
    outcome = invoke(capsys, "checkpoint", tmp_path, "--sparsity", "-o", tmp_path / "out")
    assert_refused(outcome, 2, "--sparsity only reports")
    assert_refused(invoke(capsys, "checkpoint", "--sparsity"), 2, "Give a checkpoint")
    assert_refused(invoke(capsys, "checkpoint", tmp_path / "none"), 2, "none.meta")


def test_cli_reads_masks_off_the_collections_of_contribs_graphs(
    tmp_path: Path, capsys: Any
) -> None:
    _, train_op = net()
    monitored(tmp_path, pruning.PruningHook(SPEC), train_op, 10)
    (path,) = tmp_path.glob("model.ckpt-10.meta")
    meta = tf.MetaGraphDef.FromString(path.read_bytes())
    for node in meta.graph_def.node:
        for key in [key for key in node.attr if key.startswith("_graphrev")]:
            del node.attr[key]
    path.write_bytes(meta.SerializeToString())
    outcome = invoke(capsys, "checkpoint", tmp_path, "--json")
    assert [row["zeros"] for row in json.loads(outcome.out)["kernels"]] == [32]
    meta.collection_def["masks"].node_list.value.append("net/mask:0")
    path.write_bytes(meta.SerializeToString())
    assert_refused(invoke(capsys, "checkpoint", tmp_path), 2, "no masks that a mask pass recorded")


def test_cli_starts_a_pruned_job_from_a_dense_checkpoint(tmp_path: Path, capsys: Any) -> None:
    tf.train.get_or_create_global_step()
    with tf.variable_scope("net"), tf.Session() as session:
        weights = tf.get_variable("weights", [8, 8])
        tf.get_variable("biases", [8])
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(tmp_path / "dense"), write_meta_graph=False)
        before = session.run(weights)
    with tf.Graph().as_default(), tf.Session() as session:
        net()
        updates()
        saver = tf.train.Saver()
        tf.train.export_meta_graph(str(tmp_path / "pruned.meta"), saver_def=saver.as_saver_def())
        made = ("-g", tmp_path / "pruned.meta", "-o", tmp_path / "start")
        assert invoke(capsys, "checkpoint", tmp_path / "dense", *made).code == 0
        saver.restore(session, str(tmp_path / "start"))
        masked, last = session.run([pruning.get_masked_weights()[0], tf.global_variables()[-1]])
    assert (masked == before).all()
    assert last == 0


def test_weights_are_shared_after_a_session_has_run() -> None:
    with tf.Session() as session:
        out = pruning.masked_fully_connected(tf.ones([2, 4]), 4, scope="net")
        session.run(tf.global_variables_initializer())
        again = pruning.masked_fully_connected(tf.ones([2, 4]), 4, scope="net", reuse=True)
        one, other = session.run([out, again])
    assert (one == other).all()
    assert len(pruning.get_masks()) == 1
