"""Slim's training loop, with a mask update after each step.

Source: contrib/slim/python/slim/learning.py and contrib/model_pruning/python/learning.py of
TensorFlow 1.15; slim itself is no part of TensorFlow 2. The loop runs in a
``Supervisor``, as there (:mod:`graphrev.pruning.supervising`).
"""

from __future__ import annotations

import importlib
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow

from graphrev.pruning.errors import PruningValueError
from graphrev.pruning.supervising import (
    USE_DEFAULT as _USE_DEFAULT,
)
from graphrev.pruning.supervising import (
    GraphCoordinator,
    Loop,
    Synchronized,
    optimizers_of,
    startup,
)

tf: Any = tensorflow.compat.v1
TrainStep = Callable[..., Any]

_log = logging.getLogger("graphrev")


def train_step(sess: Any, train_op: Any, global_step: Any, train_step_kwargs: Any) -> Any:
    """Takes one step: ``(loss, whether to stop)``.

    Args:
        train_step_kwargs: may hold the ops ``should_stop``, ``should_log`` and ``should_trace``
            (booleans), the latter with ``logdir`` and maybe ``summary_writer``.

    Raises:
        ValueError: ``should_trace`` without ``logdir`` (a ``PruningValueError``).
    """
    started = time.time()
    options, metadata = _tracing(sess, train_step_kwargs)
    loss, step = sess.run([train_op, global_step], options=options, run_metadata=metadata)
    spent = time.time() - started
    if metadata is not None:
        _write_trace(metadata, step, train_step_kwargs)
    if "should_log" in train_step_kwargs and sess.run(train_step_kwargs["should_log"]):
        _log.info("global step %d: loss = %.4f (%.3f sec/step)", step, loss, spent)
    # Asked after the step, because the step counts the global step up.
    if "should_stop" in train_step_kwargs:
        return loss, sess.run(train_step_kwargs["should_stop"])
    return loss, False


def _tracing(sess: Any, options: Any) -> tuple[Any, Any]:
    if "should_trace" not in options:
        return None, None
    if "logdir" not in options:
        raise PruningValueError(
            "logdir must be present in train_step_kwargs when should_trace is present"
        )
    if not sess.run(options["should_trace"]):
        return None, None
    return tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), tf.RunMetadata()


def _write_trace(metadata: Any, step: int, options: Any) -> None:
    timeline: Any = importlib.import_module("tensorflow.python.client.timeline")
    trace = timeline.Timeline(metadata.step_stats).generate_chrome_trace_format()
    (Path(options["logdir"]) / f"tf_trace-{step}.json").write_text(trace)
    if options.get("summary_writer") is not None:
        options["summary_writer"].add_run_metadata(metadata, f"run_metadata-{step}")


def with_updates(train_step_fn: TrainStep, mask_update_op: Any) -> TrainStep:
    """A ``train_step_fn`` that updates the masks after the step."""

    def step(sess: Any, train_op: Any, global_step: Any, train_step_kwargs: Any) -> Any:
        result = train_step_fn(sess, train_op, global_step, train_step_kwargs)
        sess.run(mask_update_op)
        return result

    return step


def train(
    train_op: Any,
    logdir: str | None,
    mask_update_op: Any,
    train_step_fn: TrainStep = train_step,
    train_step_kwargs: Any = _USE_DEFAULT,
    log_every_n_steps: int = 1,
    graph: Any = None,
    master: str = "",
    is_chief: bool = True,
    global_step: Any = None,
    number_of_steps: int | None = None,
    init_op: Any = _USE_DEFAULT,
    init_feed_dict: Any = None,
    local_init_op: Any = _USE_DEFAULT,
    init_fn: Any = None,
    ready_op: Any = _USE_DEFAULT,
    summary_op: Any = _USE_DEFAULT,
    save_summaries_secs: int = 600,
    summary_writer: Any = _USE_DEFAULT,
    startup_delay_steps: int = 0,
    saver: Any = None,
    save_interval_secs: int = 600,
    sync_optimizer: Any = None,
    session_config: Any = None,
    trace_every_n_steps: int | None = None,
) -> Any:
    """Trains, and updates the masks after each step.

    Args:
        train_op: takes a step and gives the loss.
        logdir: for checkpoints and summaries; ``None`` for none.
        mask_update_op: run after each step, mostly ``Pruning().conditional_mask_update_op()``.
        train_step_fn: called with session, ``train_op``, global step and ``train_step_kwargs``;
            gives the loss and whether to stop.
        train_step_kwargs: see :func:`train_step`, where it comes from by default.
        log_every_n_steps: steps between log lines.
        graph: the default graph by default.
        master: the session's target.
        is_chief: whether this process initializes and saves.
        global_step: made where there is none.
        number_of_steps: training stops at this global step; never, by default.
        init_op, init_feed_dict, local_init_op, init_fn, ready_op, summary_op, saver: as a
            ``Supervisor`` takes them, with slim's defaults.
        save_summaries_secs, save_interval_secs: seconds between summaries, between checkpoints.
        summary_writer: ``None`` for none; one is made by default.
        startup_delay_steps: the global step that a worker that is not the chief waits for.
        sync_optimizer: a ``SyncReplicasOptimizer`` or several.
        session_config: a ``ConfigProto``.
        trace_every_n_steps: steps between traces.

    Returns:
        The loss of the last step.

    Raises:
        ValueError: the arguments exclude each other, or ``train_op`` is ``None`` (a
            ``PruningValueError``).
    """
    _check(train_op, logdir, summary_op, saver, trace_every_n_steps, number_of_steps)
    optimizers = optimizers_of(sync_optimizer, startup_delay_steps)
    graph = graph or tf.get_default_graph()
    with graph.as_default():
        if global_step is None:
            global_step = tf.train.get_or_create_global_step()
        saver = saver or tf.train.Saver()
        with tf.name_scope("init_ops"):
            options = startup(init_op, ready_op, local_init_op, optimizers, is_chief)
        if train_step_kwargs == _USE_DEFAULT:
            with tf.name_scope("train_step"):
                train_step_kwargs = _step_options(global_step, number_of_steps, log_every_n_steps)
                if is_chief and trace_every_n_steps is not None:
                    train_step_kwargs["should_trace"] = _every(global_step, trace_every_n_steps)
                    train_step_kwargs["logdir"] = logdir
        synchronized = Synchronized.of(optimizers if is_chief else ())
        is_default = summary_writer == _USE_DEFAULT
        supervisor = tf.train.Supervisor(
            graph=graph,
            is_chief=is_chief,
            logdir=logdir,
            init_feed_dict=init_feed_dict,
            summary_op=tf.summary.merge_all() if summary_op == _USE_DEFAULT else summary_op,
            summary_writer=tf.train.Supervisor.USE_DEFAULT if is_default else summary_writer,
            global_step=global_step,
            saver=saver,
            save_summaries_secs=save_summaries_secs,
            save_model_secs=save_interval_secs,
            init_fn=init_fn,
            **options,
        )
    supervisor._coord = GraphCoordinator(graph)
    if summary_writer is not None:
        train_step_kwargs["summary_writer"] = supervisor.summary_writer
    loop = Loop(
        supervisor,
        with_updates(train_step_fn, mask_update_op),
        (train_op, global_step, train_step_kwargs),
        synchronized,
        min(startup_delay_steps, number_of_steps or sys.maxsize),
    )
    while True:
        try:
            with supervisor.managed_session(
                master, start_standard_services=False, config=session_config
            ) as session:
                return loop.run(session, logdir)
        except tensorflow.errors.AbortedError:
            # A server of a distributed job was restarted.
            _log.info("Retrying training!")


def _check(
    train_op: Any, logdir: Any, summary_op: Any, saver: Any, trace_every: Any, steps: Any
) -> None:
    if train_op is None:
        raise PruningValueError("train_op cannot be None.")
    if logdir is None:
        given = {
            "summary_op": summary_op != _USE_DEFAULT,
            "saver": saver is not None,
            "trace_every_n_steps": trace_every is not None,
        }
        for name in (name for name, is_given in given.items() if is_given):
            raise PruningValueError(f"Cannot provide {name} because logdir=None")
    if steps is not None and steps <= 0:
        raise PruningValueError("`number_of_steps` must be either None or a positive number.")


def _step_options(global_step: Any, steps: int | None, log_every: int) -> dict[str, Any]:
    stop = tf.greater_equal(global_step, steps) if steps else tf.constant(False)
    options = {"should_stop": stop}
    if log_every > 0:
        options["should_log"] = _every(global_step, log_every)
    return options


def _every(global_step: Any, steps: int) -> Any:
    return tf.equal(tf.mod(global_step, steps), 0)
