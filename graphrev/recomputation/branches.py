"""Copies in branches of v1 conds, and copies of branches.

In a branch that is not taken every value is dead, and so is every copy that reads one: copies need
no more than to read values of the branch. What must not happen is that something waits for a node
of a branch itself, since it would not run where the branch is not taken. It waits for a
``ControlTrigger`` instead, which runs as soon as what it waits for is done or dead
(core/common_runtime/executor.cc).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from graphrev.analysis.frames import Context, is_inner_branch
from graphrev.editor import GraphEditor
from graphrev.ir import AttrValue, Node, TensorRef

_SWITCHES = frozenset({"Switch", "RefSwitch"})


def recomputed_inputs(node: Node) -> tuple[TensorRef, ...]:
    """The inputs whose recomputed values a copy reads.

    Not the predicate of a Switch: a copy goes the way that the forward pass went, whatever rounding
    does to the values that the decision was made from.
    """
    return node.inputs[:1] if node.op in _SWITCHES else node.inputs


def told_apart(
    names: Iterable[str], contexts: Mapping[str, Context], here: Context
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Nodes that run whenever what lies ``here`` does, and those that may be dead then.

    Nodes in loops are left out: nothing outside can wait for one.
    """
    places = {name: contexts.get(name, ()) for name in names}
    return (
        tuple(name for name, own in places.items() if own == here[: len(own)]),
        tuple(name for name, own in places.items() if is_inner_branch(own, here)),
    )


def add_done(
    name: str, waits: tuple[str, ...], attrs: Mapping[str, AttrValue], editor: GraphEditor
) -> str:
    """Adds a node that runs after ``waits``, and also where their branch is not taken."""
    done = Node(
        name=editor.unique_name(f"{name}/done"),
        op="ControlTrigger",
        control_inputs=waits,
        attrs=MappingProxyType(dict(attrs)),
    )
    return editor.add(done)
