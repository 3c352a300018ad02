"""How a loop like slim's starts, synchronizes its replicas, and runs in a ``Supervisor``.

Source: contrib/slim/python/slim/learning.py of TensorFlow 1.15.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tensorflow

from graphrev.pruning.errors import PruningValueError

tf: Any = tensorflow.compat.v1
TrainStep = Callable[..., Any]

USE_DEFAULT = 0
"""What a default that ``None`` would overrule looks like."""
_log = logging.getLogger("graphrev")


class GraphCoordinator(tf.train.Coordinator):
    """Keeps the supervisor's threads in graph mode where the program has not left eager mode.

    Each thread of TensorFlow starts in the mode the program was imported in, and what saves and
    counts there asks which one that is.
    """

    def __init__(self, graph: Any) -> None:
        super().__init__()
        self._graph = graph

    @contextmanager
    def stop_on_exception(self) -> Generator[None]:
        """What every thread of the supervisor runs in."""
        with super().stop_on_exception(), self._graph.as_default():
            yield


def optimizers_of(given: Any, startup_delay_steps: int) -> tuple[Any, ...]:
    """The optimizers that synchronize their replicas: none, one or several are given.

    Raises:
        ValueError: something else is given, or a worker is to wait (a ``PruningValueError``).
    """
    kind = tf.train.SyncReplicasOptimizer
    found = () if given is None else (given,) if isinstance(given, kind) else tuple(given)
    if found and startup_delay_steps > 0:
        raise PruningValueError("startup_delay_steps must be zero when sync_optimizer is supplied.")
    if not all(isinstance(optimizer, kind) for optimizer in found):
        raise PruningValueError("`sync_optimizer` must be a tf.train.SyncReplicasOptimizer.")
    return found


def startup(
    init_op: Any, ready_op: Any, local_init_op: Any, optimizers: Sequence[Any], is_chief: bool
) -> dict[str, Any]:
    """How the supervisor initializes the variables and knows that it has."""
    if init_op == USE_DEFAULT:
        init_op = tf.global_variables_initializer()
    if ready_op == USE_DEFAULT:
        ready_op = tf.report_uninitialized_variables()
    if local_init_op == USE_DEFAULT:
        local_init_op = tf.group(tf.local_variables_initializer(), tf.tables_initializer())
    ready_for_local_init_op = None
    if optimizers:
        with tf.control_dependencies([] if local_init_op is None else [local_init_op]):
            local_init_op = tf.group(
                *(o.chief_init_op if is_chief else o.local_step_init_op for o in optimizers)
            )
        ready_for_local_init_op = tf.group(*(o.ready_for_local_init_op for o in optimizers))
    return {
        "init_op": init_op,
        "ready_op": ready_op,
        "local_init_op": local_init_op,
        "ready_for_local_init_op": ready_for_local_init_op,
    }


@dataclass(frozen=True)
class Synchronized:
    """What the chief starts for optimizers that synchronize their replicas."""

    queue_runners: tuple[Any, ...]
    tokens: tuple[Any, ...]

    @classmethod
    def of(cls, optimizers: Sequence[Any]) -> Synchronized:
        """Built before the supervisor finalizes the graph."""
        tokens = tuple(optimizer.get_init_tokens_op() for optimizer in optimizers)
        return cls(tuple(o.get_chief_queue_runner() for o in optimizers), tokens)


@dataclass(frozen=True)
class Loop:
    """The loop itself, in one session."""

    supervisor: Any
    step: TrainStep
    arguments: tuple[Any, Any, Any]
    synchronized: Synchronized
    startup_delay: int

    def run(self, session: Any, logdir: str | None) -> Any:
        """Trains until it is time to stop; gives the last loss."""
        supervisor = self.supervisor
        if not supervisor.is_chief:
            self._wait(session)
        elif logdir:
            supervisor.start_standard_services(session)
        threads = supervisor.start_queue_runners(session)
        if self.synchronized.tokens:
            supervisor.start_queue_runners(session, self.synchronized.queue_runners)
            session.run(self.synchronized.tokens)
        loss = self._train(session)
        if logdir and supervisor.is_chief:
            supervisor.saver.save(session, supervisor.save_path, global_step=supervisor.global_step)
            supervisor.stop(threads, close_summary_writer=True)
        return loss

    def _train(self, session: Any) -> Any:
        loss = None
        try:
            while not self.supervisor.should_stop():
                loss, should_stop = self.step(session, *self.arguments)
                if should_stop:
                    self.supervisor.request_stop()
        except tensorflow.errors.OutOfRangeError as error:
            # The input has come to its end.
            _log.info("Caught OutOfRangeError. Stopping Training. %s", error)
        return loss

    def _wait(self, session: Any) -> None:
        while session.run(self.arguments[1]) < self.startup_delay:
            time.sleep(1.0)
