"""Which kernels are masked and to what sparsity; every other one gets a reason."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from graphrev.analysis import ops
from graphrev.analysis.order import index_of
from graphrev.errors import UsageError, printable
from graphrev.ir import Graph
from graphrev.ir.marks import group_of, is_opted_out, is_prunable, kernel_of, role_of
from graphrev.passes.mask.derived import CHANGES, changed_use, weights_only
from graphrev.passes.mask.inside import kernels_inside
from graphrev.passes.mask.joins import joined
from graphrev.passes.mask.mirrors import mirrored
from graphrev.passes.mask.roles import CONVOLUTIONS, VIEWS, kernel_positions
from graphrev.passes.mask.trace import Kernel, lookup_of, other_readers, reads_itself
from graphrev.passes.mask.updates import updated_by
from graphrev.pipeline import Code, Rejection

_LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Choice:
    """The options that decide which kernels are masked."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_size: int = 1
    first_dense: bool = True
    last_dense: bool = True


def choose(
    graph: Graph, kernels: Sequence[Kernel], choice: Choice
) -> tuple[tuple[Kernel, ...], tuple[Rejection, ...]]:
    """The kernels to mask, and why each of the others is not.

    Raises:
        UsageError: a regular expression is invalid or matches no kernel.
    """
    _check_patterns(kernels, choice)
    marked = any(is_prunable(node) for node in graph.nodes.values())
    trains = any(ops.is_optimizer_apply(node.op) for node in graph.nodes.values())
    rejections: list[Rejection] = []
    chosen: list[Kernel] = []
    for kernel in kernels:
        rejection = (
            _unselected(graph, kernel, choice, marked)
            or _unfit(graph, kernel, choice)
            or _untrained(graph, kernel, choice, trains)
        )
        if rejection is None:
            chosen.append(kernel)
        else:
            rejections.append(rejection)
    dense = _kept_dense(graph, chosen, choice)
    rejections.extend(dense.values())
    return tuple(k for k in chosen if k.name not in dense), tuple(rejections)


def compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression given as an option.

    Raises:
        UsageError: it is none.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        shown = printable(pattern)
        raise UsageError(f"mask: '{shown}' is no regular expression: {error}.") from None


def _check_patterns(kernels: Sequence[Kernel], choice: Choice) -> None:
    for pattern in (*choice.include, *choice.exclude):
        search = compiled(pattern).search
        if kernels and not any(search(kernel.name) for kernel in kernels):
            raise UsageError(
                f"mask: '{printable(pattern)}' matches no kernel. The kernels are "
                f"{_listed(k.name for k in kernels)}."
            )


def _listed(names: Iterable[str]) -> str:
    items = [f"'{printable(name)}'" for name in names]
    return ", ".join(items[:5]) + (f" and {len(items) - 5} more" if len(items) > 5 else "")


def _unselected(graph: Graph, kernel: Kernel, choice: Choice, marked: bool) -> Rejection | None:
    name = kernel.name
    nodes = [kernel.node, *(graph[use.node] for use, _, _ in kernel.uses())]
    if any(map(is_opted_out, nodes)):
        reason = f"Kernel '{name}' was built or is used under no_rewrite()."
        return Rejection(Code.OPTED_OUT, reason, (name,))
    reason = ""
    if choice.include and not _matches(choice.include, name):
        reason = f"Kernel '{name}' matches no include pattern."
    elif _matches(choice.exclude, name):
        reason = f"Kernel '{name}' matches an exclude pattern."
    elif marked and not choice.include and not any(map(is_prunable, nodes)):
        reason = f"Kernel '{name}' is not marked, and others are."
    return Rejection(Code.NOT_SELECTED, reason, (name,)) if reason else None


def _matches(patterns: tuple[str, ...], name: str) -> bool:
    return any(compiled(pattern).search(name) for pattern in patterns)


def _unfit(graph: Graph, kernel: Kernel, choice: Choice) -> Rejection | None:
    name = kernel.name
    if kernel.dims is None or any(dim is None for dim in kernel.dims):
        reason = f"The shape of kernel '{name}' is not fully known."
        return Rejection(Code.KERNEL_SHAPE_UNKNOWN, reason, (name,))
    size = math.prod(dim or 0 for dim in kernel.dims)
    if size < max(choice.min_size, 1):
        reason = f"Kernel '{name}' has {size} weights, fewer than {choice.min_size}."
        return Rejection(Code.KERNEL_TOO_SMALL, reason, (name,))
    if size > _LARGEST:
        reason = f"Kernel '{name}' has {size} weights, more than are counted in 32 bits."
        return Rejection(Code.KERNEL_TOO_LARGE, reason, (name,))
    shared = _shared(graph, kernel)
    return None if shared is None else Rejection(Code.KERNEL_SHARED, shared[0], (name, shared[1]))


def _shared(graph: Graph, kernel: Kernel) -> tuple[str, str] | None:
    """Why no mask can follow the variable everywhere, and the node that is in the way."""
    name = kernel.name
    itself = reads_itself(graph, kernel)
    if itself is not None:
        return f"Kernel '{name}' is multiplied by itself in '{itself}'.", itself
    lookup = lookup_of(graph, kernel)
    if lookup is not None:
        return f"Rows of kernel '{name}' are looked up by '{lookup}'.", lookup
    for reader in other_readers(graph, kernel):
        node = graph[reader]
        if node.op in graph.functions or any(key in node.attrs for key in _FUNCTION_ATTRS):
            return f"Kernel '{name}' is passed into a function by '{reader}'.", reader
        if node.op == "StackPushV2":
            return f"Kernel '{name}' is kept on a stack by '{reader}'.", reader
    changed = changed_use(graph, kernel)
    if changed is not None:
        return f"'{changed}' multiplies by something computed from kernel '{name}'.", changed
    return None


_FUNCTION_ATTRS = ("f", "body", "then_branch", "branches")


def _untrained(graph: Graph, kernel: Kernel, choice: Choice, trains: bool) -> Rejection | None:
    if not trains or choice.include or updated_by(graph, kernel.name):
        return None
    reason = f"Nothing updates variable '{kernel.name}', and others are trained."
    return Rejection(Code.NOT_TRAINED, reason, (kernel.name,))


def _kept_dense(graph: Graph, kernels: Sequence[Kernel], choice: Choice) -> dict[str, Rejection]:
    """The first and last kernel, where there are three; partitions and mirrors count as one."""
    groups = joined(graph, kernels)
    for copy, first in mirrored(graph, groups).items():
        groups[copy] = groups[first]
    if len(set(groups.values())) < 3:
        return {}
    ids = index_of(graph).ids
    places = {number: place for place, number in enumerate(index_of(graph).order)}
    first_use: dict[str, int] = {}
    for kernel in kernels:
        at = min(places[ids[use.node]] for use, _, _ in kernel.uses())
        group = groups[kernel.name]
        first_use[group] = min(at, first_use.get(group, at))
    ordered = sorted(first_use, key=first_use.__getitem__)
    kept: dict[str, str] = {}
    if choice.last_dense:
        kept[ordered[-1]] = "last"
    if choice.first_dense:
        kept[ordered[0]] = "first"
    return {
        kernel.name: Rejection(
            Code.KEPT_DENSE,
            f"Kernel '{kernel.name}' is the {kept[groups[kernel.name]]} one.",
            (kernel.name,),
        )
        for kernel in kernels
        if groups[kernel.name] in kept
    }


def unmasked(graph: Graph, kernels: Sequence[Kernel]) -> tuple[Rejection, ...]:
    """The ops whose kernel is no variable of the graph itself, one rejection per kernel."""
    known = {tensor for kernel in kernels for tensor in kernel.tensors}
    computed = weights_only(graph)
    found: dict[str, Rejection] = {}
    for node in graph.nodes.values():
        for place in kernel_positions(node):
            ref = node.inputs[place]
            source = _source(graph, ref.node)
            if ref in known or source in found:
                continue
            beside = [other.node for at, other in enumerate(node.inputs) if at != place]
            is_kernel = node.op in CONVOLUTIONS or (
                graph[source].op in CHANGES and source in computed and computed.isdisjoint(beside)
            )
            rejection = _no_variable(graph, node.name, source, is_kernel)
            if rejection is not None:
                found[source] = rejection
    return (*found.values(), *kernels_inside(graph, kernels))


def _source(graph: Graph, name: str) -> str:
    while graph[name].op in VIEWS and graph[name].inputs:
        name = graph[name].inputs[0].node
    return name


def _no_variable(graph: Graph, user: str, source: str, is_kernel: bool) -> Rejection | None:
    node = graph[source]
    if role_of(node) == "masked_weight":
        kernel = kernel_of(node) or source
        reason = f"Kernel '{kernel}' is masked already."
        return Rejection(Code.ALREADY_REWRITTEN, reason, (source,))
    if ops.is_constant(node.op):
        reason = f"The kernel '{source}' that '{user}' reads is a constant."
        return Rejection(Code.KERNEL_IS_CONSTANT, reason, (source, user))
    if is_kernel and not ops.is_variable(node.op):
        reason = f"The kernel that '{user}' reads is computed by '{source}', a {node.op}."
        return Rejection(Code.KERNEL_IS_COMPUTED, reason, (user, source))
    return None


def targets(
    kernels: Sequence[Kernel], sparsity: float, patterns: Sequence[str]
) -> Mapping[str, float]:
    """The target sparsity of each kernel.

    Args:
        patterns: ``regex:sparsity`` for kernels with a target of their own.

    Raises:
        UsageError: a pattern is malformed, matches no kernel, or two match the same kernel.
    """
    found: dict[str, float] = {}
    owner: dict[str, str] = {}
    for entry in patterns:
        pattern, value = _target(entry)
        hits = [kernel.name for kernel in kernels if compiled(pattern).search(kernel.name)]
        if not hits:
            raise UsageError(f"mask: '{printable(pattern)}' in targets matches no masked kernel.")
        for name in hits:
            if name in owner:
                raise UsageError(
                    f"mask: kernel '{printable(name)}' matches two targets, "
                    f"'{printable(owner[name])}' and '{printable(pattern)}'."
                )
            owner[name], found[name] = pattern, value
    return {kernel.name: found.get(kernel.name, sparsity) for kernel in kernels}


def _target(entry: str) -> tuple[str, float]:
    pattern, colon, spelled = entry.rpartition(":")
    try:
        value = float(spelled)
    except ValueError:
        value = -1.0
    if not colon or not pattern or not 0.0 <= value < 1.0:
        raise UsageError(
            f"mask: the target '{printable(entry)}' is not REGEX:SPARSITY with 0 <= SPARSITY < 1."
        )
    return pattern, value


def erk(kernels: Sequence[Kernel], sparsity: float) -> Mapping[str, float]:
    """Erdős-Rényi-kernel sparsities with the same total (Evci et al. 2020, arXiv:1911.11134).

    A kernel's density is proportional to the sum of its dimensions over their product; those that
    would come out above 1 are kept dense and the rest share what is left.
    """
    sizes = {k.name: math.prod(dim or 0 for dim in k.dims or ()) for k in kernels}
    raw = {k.name: sum(dim or 0 for dim in k.dims or ()) / sizes[k.name] for k in kernels}
    dense: set[str] = set()
    while True:
        loose = [name for name in sizes if name not in dense]
        left = (1.0 - sparsity) * sum(sizes.values()) - sum(sizes[name] for name in dense)
        scale = left / sum(raw[name] * sizes[name] for name in loose) if loose else 0.0
        over = [name for name in loose if scale * raw[name] > 1.0]
        if not over:
            return {
                name: 0.0 if name in dense else max(0.0, 1.0 - scale * raw[name]) for name in sizes
            }
        dense.update(over)


def grouped(graph: Graph, kernels: Sequence[Kernel], allocation: str) -> Mapping[str, str]:
    """The group each kernel is ranked with, by name; kernels ranked by themselves are left out.

    Raises:
        UsageError: no kernel is in a named group, or one holds kernels of two types.
    """
    if allocation not in ("global", "groups"):
        return {}
    names = {k.name: "all" if allocation == "global" else _group(graph, k) for k in kernels}
    found = {name: group for name, group in names.items() if group is not None}
    if kernels and not found:
        raise UsageError(
            "mask: allocation=groups needs kernels built under prunable(NAME), and there are none."
        )
    members = Counter(found.values())
    found = {name: group for name, group in found.items() if members[group] > 1}
    types: dict[str, set[str]] = {}
    for kernel in kernels:
        if kernel.name in found:
            types.setdefault(found[kernel.name], set()).add(kernel.dtype.name.lower())
    for group, kinds in types.items():
        if len(kinds) > 1:
            raise UsageError(
                f"mask: the kernels of '{printable(group)}' are of different types "
                f"({', '.join(sorted(kinds))}) and cannot be ranked together. Exclude those of one."
            )
    return found


def _group(graph: Graph, kernel: Kernel) -> str | None:
    nodes = (kernel.node, *(graph[use.node] for use, _, _ in kernel.uses()))
    return next((group for node in nodes if (group := group_of(node)) is not None), None)
