"""Where a training step ends, so that the mask update can be made part of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphrev.analysis import ops
from graphrev.analysis.order import ancestor_labels, descendant_labels, index_of, topological
from graphrev.errors import UsageError, printable
from graphrev.ir import DType, Graph, Node, Shape, TensorRef
from graphrev.passes.mask.mirrors import without_copies
from graphrev.passes.mask.plan import UpdatePlan
from graphrev.passes.mask.roles import HANDS_VARIABLE_ON
from graphrev.passes.mask.schedule import Schedule
from graphrev.passes.mask.updates import assigns_from_itself, updated_by

_ADVANCES = frozenset({"AssignAdd", "AssignAddVariableOp"})
_READS = frozenset({"ReadVariableOp", "Identity"})
_COUNTS = frozenset({DType.INT32, DType.INT64})


def plan_update(
    graph: Graph,
    kernels: Sequence[str],
    schedule: Schedule,
    train_op: str | None,
    global_step: str | None,
) -> UpdatePlan:
    """Where and when the masks of ``kernels`` are updated.

    Raises:
        UsageError: the training op or the global step is missing or not plain.
    """
    step = _named_step(graph, global_step) if global_step is not None else None
    ends = _ends(graph, kernels, train_op)
    if not ends:
        return _untrained(graph, schedule, step)
    behind = _before(graph, ends)
    step = step or _step(graph, behind)
    counting = [name for name in behind if _advances(graph, name, step.name)]
    end = ends[0] if len(ends) == 1 else _meeting(graph, kernels, ends, counting)
    node = graph[end]
    earlier = set(_before(graph, (end,))) - {end}
    # TensorFlow leaves a control edge away that an input of the op has already.
    waits = tuple(dict.fromkeys((*node.control_inputs, *(r.node for r in node.inputs))))
    follows = bool(counting) and earlier.isdisjoint(counting)
    return _update(schedule, step, waits, end, follows)


def in_training_step(graph: Graph, kernels: Sequence[str], train_op: str | None) -> frozenset[str]:
    """The nodes that run in every step that trains ``kernels``; none where nothing trains them.

    Raises:
        UsageError: ``train_op`` is not in the graph, or it cannot be told which it is.
    """
    ends = _ends(graph, kernels, train_op)
    return frozenset(_before(graph, ends)) if ends else frozenset()


def _update(
    schedule: Schedule, step: Node, after: tuple[str, ...], end: str | None, counts_itself: bool
) -> UpdatePlan:
    dtype = step.dtype_attr("dtype")
    return UpdatePlan(
        schedule, step.name, dtype, step.op == "VarHandleOp", after, end, counts_itself
    )


def _untrained(graph: Graph, schedule: Schedule, step: Node | None) -> UpdatePlan:
    """A graph that nothing trains yet: the update is an op of its own."""
    if step is None:
        found = without_copies(graph, step_variables(graph, graph.nodes))
        step = graph[found[0]] if len(found) == 1 else None
    if step is not None:
        return _update(schedule, step, (), None, False)
    if schedule.shape == "constant":
        return UpdatePlan(schedule, "", DType.INT64, False, (), None, False)
    raise UsageError(
        f"mask: the {schedule.shape} schedule needs a global step, and nothing in the graph counts "
        "steps. Create one (tf.train.get_or_create_global_step) before saving the graph, or use "
        "schedule=constant."
    )


def _ends(graph: Graph, kernels: Sequence[str], given: str | None) -> list[str]:
    """The ops that end a training step: nothing reads them, and every update is before them."""
    if given is not None:
        name = given.removesuffix(":0")
        if name not in graph:
            raise UsageError(f"mask: train_op '{printable(given)}' is not in the graph.")
        return [name]
    updates = _updates(graph, kernels)
    if not updates:
        return []
    labels = _after(graph, updates)
    whole = (1 << len(updates)) - 1
    sinks = [
        name
        for name, label in labels.items()
        if label and not graph.readers.get(name) and not graph.control_readers.get(name)
    ]
    ends = [name for name in sinks if labels[name] == whole]
    # Adam reads the powers of its betas after it has assigned them, for nobody.
    ends = [name for name in ends if graph[name].op != "ReadVariableOp"] or ends
    partial = [n for n in sinks if labels[n] != whole and graph[n].op not in _READS]
    # Code under control_dependencies leaves dead ops behind an update: nobody trains by them.
    partial = [name for name in partial if not ends or _does_something(graph[name])]
    if partial or not ends:
        raise _ambiguous(ends + partial or sinks)
    return ends


def _does_something(node: Node) -> bool:
    """Whether running the node alone does anything: it groups others, or changes a state."""
    return node.op == "NoOp" or ops.is_stateful(node.op)


def _updates(graph: Graph, kernels: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name for kernel in kernels for name in updated_by(graph, kernel)))


def _after(graph: Graph, updates: Sequence[str]) -> dict[str, int]:
    """For each node the updates that it comes after, as bits."""
    index = index_of(graph)
    seeds = [[index.ids[name]] for name in updates]
    return dict(zip(index.names, descendant_labels(index, seeds, control=True)))


def _meeting(
    graph: Graph, kernels: Sequence[str], ends: Sequence[str], counting: Sequence[str]
) -> str:
    """Where all updates have been made, before any of several ``ends``.

    Raises:
        UsageError: they share no such op, or the step is counted beside it.
    """
    updates = _updates(graph, kernels)
    labels, whole = _after(graph, updates), (1 << len(updates)) - 1
    index = index_of(graph)
    seeds = [[index.ids[name]] for name in ends]
    before = dict(zip(index.names, ancestor_labels(index, seeds, control=True)))
    everyone = (1 << len(ends)) - 1
    for name in topological(graph):
        if labels[name] != whole or name in updates or before[name] != everyone:
            continue
        earlier, later = set(_before(graph, (name,))), _after(graph, (name,))
        if all(op in earlier or later[op] for op in counting):
            return name
        break
    raise _ambiguous(ends)


def _ambiguous(ends: Sequence[str]) -> UsageError:
    shown = ", ".join(f"'{printable(name)}'" for name in ends[:5])
    return UsageError(
        f"mask: {len(ends)} ops may be the training op: {shown}. Say which with train_op=NAME."
    )


def _before(graph: Graph, ends: Sequence[str]) -> list[str]:
    index = index_of(graph)
    labels = ancestor_labels(index, [[index.ids[end] for end in ends]], control=True)
    return [name for name, label in zip(index.names, labels) if label]


def _advances(graph: Graph, name: str, step: str) -> bool:
    return _advanced_by(graph, graph[name]) == step


def _advanced_by(graph: Graph, node: Node) -> str | None:
    """The integer scalar variable that a node adds to, or assigns a value computed from it."""
    if node.op not in _ADVANCES and not ops.is_assignment(node.op):
        return None
    source = _handle_source(graph, node)
    counts = node.op in _ADVANCES or assigns_from_itself(graph, node, source)
    return source if _is_counter(graph[source]) and counts else None


def _step(graph: Graph, behind: Sequence[str]) -> Node:
    found = without_copies(graph, step_variables(graph, behind))
    if len(found) == 1:
        return graph[found[0]]
    if not found:
        raise UsageError(
            "mask: the training op advances no global step, so no schedule can be followed. Pass "
            "global_step=tf.train.get_or_create_global_step() to minimize, or name the variable "
            "that counts steps with global_step=NAME."
        )
    shown = ", ".join(f"'{printable(name)}'" for name in found[:5])
    raise UsageError(f"mask: {shown} may each be the global step. Say which with global_step=NAME.")


def step_variables(graph: Graph, among: Iterable[str]) -> list[str]:
    """The integer scalar variables that ``among`` advances."""
    found: dict[str, None] = {}
    for name in among:
        source = _advanced_by(graph, graph[name])
        if source is not None:
            found[source] = None
    return list(found)


def _handle_source(graph: Graph, node: Node) -> str:
    ref = node.inputs[0]
    while graph[ref.node].op in HANDS_VARIABLE_ON and graph[ref.node].inputs:
        ref = graph[ref.node].inputs[0]
    return ref.node


def _is_counter(node: Node) -> bool:
    dtype, shape = node.attrs.get("dtype"), node.attrs.get("shape")
    return (
        isinstance(dtype, DType)
        and dtype.base in _COUNTS
        and isinstance(shape, Shape)
        and shape.dims == ()
    )


def _named_step(graph: Graph, given: str) -> Node:
    name = given.removesuffix(":0")
    if name not in graph or not _is_counter(graph[name]):
        raise UsageError(
            f"mask: global_step '{printable(given)}' is no integer scalar variable of the graph."
        )
    return graph[name]


def check_tensor(graph: Graph, plan: UpdatePlan) -> tuple[TensorRef, DType]:
    """The tensor that tells the sparsity, and its type.

    Raises:
        UsageError: it is no floating-point tensor of the graph, or comes after the training op.
    """
    shown = printable(plan.schedule.tensor)
    name, _, index = plan.schedule.tensor.partition(":")
    node = graph.nodes.get(name)
    kinds = [node.attrs.get(key) for key in ("dtype", "DstT", "T")] if node else []
    dtype = next((kind for kind in kinds if isinstance(kind, DType)), None)
    if dtype is None or not dtype.is_floating or not (index or "0").isdigit():
        raise UsageError(f"mask: tensor '{shown}' is no floating-point tensor of the graph.")
    if plan.train_op is not None and plan.train_op in _before(graph, (name,)):
        raise UsageError(f"mask: tensor '{shown}' comes after the training op.")
    return TensorRef(name, int(index or 0)), dtype.base
