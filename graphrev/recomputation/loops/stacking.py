"""Stacks between a loop and its gradient loop: a new one for a value, an old one taken away.

A new stack is made as ``tf.gradients`` makes them (python/ops/control_flow_state.py): the push
waits for the forward counter, the next count for the push, and likewise for the pop, so values
come back in reverse whatever order the executor would like.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from graphrev.analysis.frames_gradients import GradientLoop
from graphrev.analysis.frames_loops import ENTERS, SWITCHES
from graphrev.analysis.frames_stacks import Stack
from graphrev.editor import GraphEditor
from graphrev.ir import AttrValue, DType, TensorRef
from graphrev.recomputation.branches import add_done

_ABOUT_THE_MODEL = frozenset({"_class", "_output_shapes"})


def add_stack(
    pair: GradientLoop,
    value: TensorRef,
    dtype: DType,
    scope: str,
    attrs: Mapping[str, AttrValue],
    editor: GraphEditor,
    model: Stack | None = None,
) -> TensorRef:
    """Saves ``value`` of each forward iteration; returns it as the gradient loop pops it.

    Args:
        pair: the loops; they have at least one stack already, whose making is repeated.
        attrs: attributes that every added node gets.
        model: the stack whose making is repeated, where it has to be one of the same branch.
    """
    ends = add_handles(pair, f"{scope}/{value.node}", dtype, attrs, editor, model)
    push = add_push(ends, (ends.pushed, value), (pair.index,), editor)
    pop = add_pop(ends, ends.popped, (pair.down,), editor)
    for end, following in ((push, pair.count.next), (pop, pair.countdown.next)):
        done = add_done(end, (end,), attrs, editor) if ends.model.branched else end
        editor.add_controls(following, (done,))
    return TensorRef(pop)


@dataclass(frozen=True, slots=True)
class Ends:
    """A new stack's handle in both loops, and what its push and pop are modelled on."""

    model: Stack
    base: str
    dtype: DType
    attrs: Mapping[str, AttrValue]
    pushed: TensorRef
    popped: TensorRef


def add_handles(
    pair: GradientLoop,
    base: str,
    dtype: DType,
    attrs: Mapping[str, AttrValue],
    editor: GraphEditor,
    model: Stack | None = None,
) -> Ends:
    """Makes a stack and enters its handle into both loops."""
    model = model or next(stack for stack in pair.stacks if not stack.branched)
    graph = editor.graph
    size = graph[model.name].inputs[0]
    if graph[size.node].op == "Const":
        size = TensorRef(_copy(editor, size.node, f"{base}/saved/max_size", (), attrs))
    elements = {**attrs, "elem_type": dtype, "stack_name": f"{base}/saved".encode()}
    handle = TensorRef(_copy(editor, model.name, f"{base}/saved", (size,), elements))
    pushed = _entered(editor, graph[model.push].inputs[0], handle, base, attrs)
    popped = _entered(editor, graph[model.pop].inputs[0], handle, base, attrs)
    return Ends(model, base, dtype, attrs, pushed, popped)


def add_push(
    ends: Ends, inputs: tuple[TensorRef, TensorRef], controls: tuple[str, ...], editor: GraphEditor
) -> str:
    """Adds a push of ``inputs``: handle and value."""
    attrs = {**ends.attrs, "T": ends.dtype}
    return _copy(editor, ends.model.push, f"{ends.base}/push", inputs, attrs, controls)


def add_pop(ends: Ends, handle: TensorRef, controls: tuple[str, ...], editor: GraphEditor) -> str:
    """Adds a pop."""
    attrs = {**ends.attrs, "elem_type": ends.dtype}
    return _copy(editor, ends.model.pop, f"{ends.base}/pop", (handle,), attrs, controls)


def _copy(
    editor: GraphEditor,
    model: str,
    name: str,
    inputs: tuple[TensorRef, ...],
    attrs: Mapping[str, AttrValue],
    controls: tuple[str, ...] = (),
) -> str:
    node = editor.graph[model]
    copy = node.evolve(
        name=editor.unique_name(name),
        inputs=inputs,
        control_inputs=controls,
        attrs=MappingProxyType(
            {k: v for k, v in {**node.attrs, **attrs}.items() if k not in _ABOUT_THE_MODEL}
        ),
        extra=b"",
    )
    return editor.add(copy)


def _entered(
    editor: GraphEditor,
    model: TensorRef,
    handle: TensorRef,
    base: str,
    attrs: Mapping[str, AttrValue],
) -> TensorRef:
    """``handle`` on the same way through branches and into frames as ``model``."""
    node = editor.graph[model.node]
    if node.op not in ENTERS and node.op not in SWITCHES:
        return handle
    inner = _entered(editor, node.inputs[0], handle, base, attrs)
    inputs = (inner, *node.inputs[1:])
    return TensorRef(_copy(editor, node.name, f"{base}/{node.op}", inputs, attrs), model.index)


def remove_stack(pair: GradientLoop, stack: Stack, editor: GraphEditor) -> None:
    """Takes a stack away whose pop nobody reads any more."""
    for end, pivot in ((stack.pop, pair.down), (stack.push, pair.index)):
        handle = editor[end].inputs[0].node
        _release(end, pivot, editor)
        editor.remove(end)
        _remove_unread(handle, editor)


def _release(name: str, pivot: str, editor: GraphEditor) -> None:
    """Makes nobody wait for ``name``; what nothing else ties to its loop waits for ``pivot``."""
    for reader in tuple(editor.readers(name)):
        node = editor[reader]
        left = tuple(source for source in node.control_inputs if source != name)
        tied = left or node.inputs
        editor.set_controls(reader, left if tied else (pivot,))


def _remove_unread(name: str, editor: GraphEditor) -> None:
    """Removes a handle and what it was made from, as far as nobody else reads it."""
    pending = [name]
    while pending:
        node = editor[pending.pop()]
        if next(iter(editor.readers(node.name)), None) is not None:
            continue
        if node.op in ENTERS or node.op in SWITCHES or node.op in ("StackV2", "Const"):
            sources: Iterable[TensorRef] = node.inputs[:1]
            editor.remove(node.name)
            pending.extend(dict.fromkeys(ref.node for ref in sources))
