"""Keeps updates of reference variables behind the gradient loop that computes from their buffers.

See :mod:`graphrev.recomputation.guards`. Copies inside a loop cannot be waited for from outside.
But the countdown of the gradient loop can wait for the copies of its iteration, and then the Exit
of the countdown comes after the copies of all iterations. It waits for what gradients read of them
and not for the copies that read the buffer: Grappler does not fuse an op that somebody waits for,
so a copied product would be rounded otherwise than the original.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from graphrev.analysis.frames_gradients import GradientLoop
from graphrev.editor import GraphEditor
from graphrev.ir import Node, TensorRef
from graphrev.passes.recompute.loops.needs import Needs
from graphrev.passes.recompute.loops.writer import LoopWriter
from graphrev.pipeline import Code, Rejection
from graphrev.recomputation.branches import add_done
from graphrev.recomputation.guards import buffer_owner, later_updates
from graphrev.recomputation.loops.body import Body


def hold_updates(
    body: Body, needs: Needs, writer: LoopWriter, scope: str, editor: GraphEditor
) -> Rejection | None:
    """Makes late updates of what the copies read wait for all of them, or says why none can."""
    pair, around = body.pair, body.around
    readers: dict[str, list[str]] = {}
    for name in needs.clones:
        for owner in dict.fromkeys(_owners(body, around.graph[name].inputs)):
            for update in later_updates(around, owner, needs.clones[-1]):
                readers.setdefault(update, []).append(name)
    if not readers:
        return None
    for update in readers:
        if pair.outer is not None or update in body.contexts or _left(pair) in body.contexts:
            reason = f"'{update}' writes a variable that the loop of '{pair.forward.cond}' reads."
            return Rejection(Code.VARIABLE_CHANGES, reason, (update, pair.forward.cond))
    results = dict.fromkeys(_result(body, needs, n) for names in readers.values() for n in names)
    waits = tuple(writer.result(ref, f"{scope}/{ref.node}/done") for ref in results)
    if not body.is_whole:
        waits = (add_done(scope, waits, {}, editor),)
    editor.add_controls(pair.countdown.next, waits)
    done = pair.countdown.exits or (_exit(pair, scope, editor),)
    for update in readers:
        editor.add_controls(update, done[:1])
    return None


def _owners(body: Body, refs: Iterable[TensorRef]) -> Iterator[str]:
    """The reference variables behind free values, through what is computed from them."""
    pending, seen = [ref for ref in refs if ref.node in body.free], set[TensorRef]()
    while pending:
        ref = pending.pop()
        if ref in seen:
            continue
        seen.add(ref)
        owner = buffer_owner(body.around, ref)
        if owner is not None:
            yield owner
        inputs = body.around.graph[ref.node].inputs
        pending.extend(source for source in inputs if source.node in body.free)


def _result(body: Body, needs: Needs, name: str) -> TensorRef:
    """What gradients read that the copy of ``name`` is needed for."""
    around = body.around
    read = {around.origin(stack.value): stack for stack in needs.replaced}
    reached = {name}
    for clone in needs.clones:
        sources = (around.origin(ref).node for ref in around.graph[clone].inputs)
        if clone == name or not reached.isdisjoint(sources):
            reached.add(clone)
            found = next((ref for ref in read if ref.node == clone), None)
            if found is not None:
                return found
    raise AssertionError(f"Nobody reads what the copy of {name} is for.")


def _left(pair: GradientLoop) -> str:
    """A node behind the forward loop, in the branch that the loop lies in."""
    exits = (name for variable in pair.forward.variables for name in variable.exits)
    return next(exits, pair.forward.cond)


def _exit(pair: GradientLoop, scope: str, editor: GraphEditor) -> str:
    switch = editor.graph[pair.countdown.switch]
    node = Node(
        name=editor.unique_name(f"{scope}/done"),
        op="Exit",
        inputs=(TensorRef(switch.name),),
        device=switch.device,
        attrs={"T": switch.attr("T")},
    )
    return editor.add(node)
