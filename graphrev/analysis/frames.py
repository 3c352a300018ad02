"""Which while loop or cond branch a node lies in (v1 control flow).

A context opens at an ``Enter`` (named by its frame) or at a ``Switch`` (named by its predicate)
and closes at the ``Exit`` or ``Merge`` that leads out again; a ``Switch`` whose predicate is a
``LoopCond`` belongs to its loop and opens nothing. A node is as deep as the deepest node it reads
or waits for. Source: core/graph/control_flow.cc and python/ops/control_flow_ops.py (TF 1.15).
"""

from __future__ import annotations

from typing import TypeAlias

from graphrev.analysis.order import topological
from graphrev.ir import Graph, Node, TensorRef

Context: TypeAlias = tuple[str, ...]
"""Open contexts from the outermost in; empty for a node outside all control flow."""

_ENTER = frozenset({"Enter", "RefEnter"})
_EXIT = frozenset({"Exit", "RefExit"})
_SWITCH = frozenset({"Switch", "RefSwitch"})
_MERGE = frozenset({"Merge", "RefMerge"})
_LOOP = "while "
_OPS = _ENTER | _EXIT | _SWITCH | _MERGE


def is_loop_body(context: Context) -> bool:
    """Whether what lies in ``context`` runs in every iteration of the innermost loop."""
    return bool(context) and context[-1].startswith(_LOOP)


def is_outside_loops(context: Context) -> bool:
    """Whether ``context`` lies in no loop: in a branch, perhaps inside others, or in nothing."""
    return not any(part.startswith(_LOOP) for part in context)


def is_inner_branch(context: Context, place: Context) -> bool:
    """Whether ``context`` is a branch, or a branch of a branch, of what lies in ``place``."""
    inner = context[len(place) :]
    return bool(inner) and context[: len(place)] == place and is_outside_loops(inner)


def control_contexts(graph: Graph) -> dict[str, Context]:
    """The context of every node that lies in one; nodes outside control flow are left out."""
    if not any(node.op in _OPS for node in graph.nodes.values()):
        return {}
    contexts: dict[str, Context] = {}
    for name in topological(graph):
        node = graph[name]
        context = _context(graph, node, contexts)
        if context:
            contexts[name] = context
    return contexts


def _context(graph: Graph, node: Node, contexts: dict[str, Context]) -> Context:
    sources = (*(ref.node for ref in node.inputs), *node.control_inputs)
    known = [contexts.get(source, ()) for source in sources]
    deepest = max(known, key=len, default=())
    if node.op in _ENTER:
        frame = node.attrs.get("frame_name", b"")
        return (*deepest, f"{_LOOP}{frame!r}")
    if node.op in _EXIT:
        return deepest[:-1]
    if node.op in _SWITCH:
        predicate = _predicate(graph, node)
        return deepest if predicate is None else (*deepest, f"cond {predicate}")
    if node.op in _MERGE and not _is_loop_merge(graph, node):
        return deepest[:-1]
    return deepest


def _predicate(graph: Graph, switch: Node) -> TensorRef | None:
    """What a cond's Switch decides by; ``None`` for the Switch of a loop variable."""
    if len(switch.inputs) < 2:
        return None
    predicate = switch.inputs[1]
    node = graph[predicate.node]
    while node.op == "Identity":
        predicate = node.inputs[0]
        node = graph[predicate.node]
    return None if node.op == "LoopCond" else predicate


def _is_loop_merge(graph: Graph, merge: Node) -> bool:
    return any(graph[ref.node].op in _ENTER for ref in merge.inputs)
