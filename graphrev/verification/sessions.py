"""Runs one graph in a session: variables loaded, one step, everything read back.

A private copy is run. Its unseeded random ops get fixed seeds, the same in both graphs, and assign
ops of its own load the variables; nothing of this reaches the caller's graph or files.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Collection, Container, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from graphrev.analysis import ops
from graphrev.errors import VerificationError, printable
from graphrev.io.graph_defs import encode_graph
from graphrev.ir import Graph, Node, TensorRef
from graphrev.verification.access import add_access
from graphrev.verification.choices import ancestors
from graphrev.verification.reach import opens


def seeded(graph: Graph) -> Graph:
    """The graph with fixed seeds in its random ops; equal names get equal seeds."""
    changed: dict[str, Node] = {}
    for name, node in graph.nodes.items():
        if ops.is_random(node.op) and "seed" in node.attrs and "seed2" in node.attrs:
            number = zlib.crc32(name.encode()) & 0x7FFFFFFF
            node = node.with_attr("seed", 20).with_attr("seed2", number or 1)
        changed[name] = node
    return Graph(
        MappingProxyType(changed),
        graph.functions,
        graph.versions,
        graph.extra,
        graph.library_extra,
    )


class DeadTensorError(VerificationError):
    """A fetched tensor has no value in this step: it waits for a branch that is not taken."""


class Runner:
    """A session on a private copy of a graph.

    Args:
        graph: the graph.
        which: what to call it in messages.
        until: when to give up, on the clock of :func:`time.monotonic`.
        grappler: whether TensorFlow optimizes the graph before it runs it.
    """

    def __init__(
        self, graph: Graph, which: str, until: float | None = None, *, grappler: bool = True
    ) -> None:
        import tensorflow as tf

        self._tf: Any = tf.compat.v1
        self._which = which
        self._until = until
        self._graph: Any = self._tf.Graph()
        definition = self._tf.GraphDef.FromString(encode_graph(seeded(graph)))
        inside = (node for function in definition.library.function for node in function.node_def)
        for node in (*definition.node, *inside):
            node.device = ""
            # A remark that export leaves; where TensorFlow 1 knew less, TensorFlow 2 disagrees.
            node.attr.pop("_output_shapes", None)
        self._variables = {
            name: node for name, node in graph.nodes.items() if ops.is_variable(node.op)
        }
        self._source = graph
        self._access = add_access(definition, self._variables)
        with self._graph.as_default():
            try:
                tf.import_graph_def(definition, name="")
            except (ValueError, self._tf.errors.OpError) as error:
                raise VerificationError(
                    f"TensorFlow refuses the {which} graph: {printable(str(error), 400)}"
                ) from None
        self._config = self._tf.ConfigProto(allow_soft_placement=True)
        self._config.graph_options.rewrite_options.disable_meta_optimizer = not grappler
        self._session: Any = self._tf.Session(graph=self._graph, config=self._config)

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    @property
    def variable_names(self) -> Collection[str]:
        """The graph's variables."""
        return self._variables.keys()

    def reopen(self) -> None:
        """Starts a new session: nothing has a value, and random ops stand at their beginning."""
        self._session.close()
        self._session = self._tf.Session(graph=self._graph, config=self._config)

    def initial_values(self, known: Container[str] = ()) -> dict[str, Any]:
        """The variables' values as the graph's own initializers make them.

        A variable whose initializer is missing, fails or opens a file is left out, and what is
        ``known`` already.

        Raises:
            VerificationError: the time is up.
        """
        found = {
            name: self._tensor(tensor)
            for name, tensor in _initializers(self._source, self._variables).items()
            if name not in known
            and not opens(self._source, ancestors(self._source, [tensor.node], frozenset()))
        }
        if not found:
            return {}
        try:
            return dict(zip(found, self._session.run(list(found.values()), options=self._limit())))
        except self._tf.errors.OpError:
            return self._one_by_one(found)

    def _one_by_one(self, found: Mapping[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, tensor in found.items():
            try:
                values[name] = self._session.run(tensor, options=self._limit())
            except self._tf.errors.OpError:
                continue
        return values

    def _limit(self) -> Any:
        """Options of a run that may take what is left of the time."""
        if self._until is None:
            return None
        left = int((self._until - time.monotonic()) * 1000)
        if left <= 0:
            raise VerificationError(f"the time was up before the {self._which} graph had been run")
        return self._tf.RunOptions(timeout_in_ms=left)

    def load(self, values: Mapping[str, Any]) -> None:
        """Gives the variables their values; a variable of another name is ignored."""
        given = {n: access for n, access in self._access.items() if n in values}
        feeds = {self._tensor(TensorRef(a.value)): values[name] for name, a in given.items()}
        self.run_raw([self._graph.get_operation_by_name(a.load) for a in given.values()], feeds)

    def variables(self) -> dict[str, Any]:
        """The variables' present values."""
        readers = [self._tensor(TensorRef(access.read)) for access in self._access.values()]
        return dict(zip(self._access, self.run_raw(readers, {})))

    def run(
        self, tensors: Iterable[TensorRef], targets: Iterable[str], feeds: Mapping[TensorRef, Any]
    ) -> list[Any]:
        """One step: the values of ``tensors`` while ``targets`` run too.

        Raises:
            DeadTensorError: one of ``tensors`` has no value in this step.
            VerificationError: TensorFlow refuses or fails.
        """
        fetched = [self._tensor(ref) for ref in tensors]
        operations = [self._graph.get_operation_by_name(name) for name in targets]
        fed = {self._tensor(ref): value for ref, value in feeds.items()}
        return self.run_raw([*fetched, *operations], fed)[: len(fetched)]

    def run_raw(self, fetched: list[Any], feeds: Mapping[Any, Any]) -> list[Any]:
        """Runs live tensors and operations of the private copy."""
        try:
            return self._session.run(fetched, dict(feeds), self._limit()) if fetched else []
        except (self._tf.errors.OpError, ValueError, TypeError) as error:
            said = _without_headings(getattr(error, "message", str(error)))
            raise (DeadTensorError if _DEAD.match(said) else VerificationError)(
                f"The {self._which} graph cannot be run: {printable(said, 300)} "
                "Give fitting feeds with --feed NAME=SHAPE, variables with --checkpoint PREFIX, or "
                "other fetches with --fetch NAME."
            ) from None

    def _tensor(self, ref: TensorRef) -> Any:
        return self._graph.get_operation_by_name(ref.node).outputs[ref.index]


_DEAD = re.compile(r"Retval\[\d+\] does not have value")
"""What TensorFlow says of a fetch that is dead; it has no error code of its own."""
_HEADINGS = ("Graph execution error", "Detected at node", "Node: ")


def _without_headings(message: str) -> str:
    """The first line of TensorFlow's message that says what happened."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(_HEADINGS)]
    return next(iter((*telling, *lines)), "no reason given")


def _initializers(graph: Graph, variables: Mapping[str, Node]) -> dict[str, TensorRef]:
    """For each variable the tensor its first plain Assign stores, where that needs no feed."""
    found: dict[str, TensorRef] = {}
    for node in graph.nodes.values():
        if ops.is_assignment(node.op) and len(node.inputs) == 2:
            target, value = node.inputs
            source = graph[value.node].op
            restored = source.startswith("Restore")
            if target.node in variables and target.node not in found and not restored:
                found[target.node] = value
    return found
