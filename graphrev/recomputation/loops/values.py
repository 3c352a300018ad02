"""Brings values of a forward loop's iteration into the matching iteration of its gradient loop.

Free values are computed again there; anything else comes over a stack, the one that is there or a
new one. Inside a nest of loops an invariant of the inner loop is a value of the outer one, so the
outer pair of loops is asked for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from graphrev.analysis import ops
from graphrev.analysis.frames_gradients import GradientLoop
from graphrev.analysis.frames_loops import ENTERS, SWITCHES
from graphrev.analysis.frames_stacks import Stack
from graphrev.editor import GraphEditor
from graphrev.ir import AttrValue, Node, TensorRef
from graphrev.ir.deferred import CLONE_ATTR
from graphrev.ir.marks import without_marks
from graphrev.pipeline import Code, Rejection
from graphrev.recomputation.branches import add_done
from graphrev.recomputation.loops.body import Body
from graphrev.recomputation.loops.stacking import add_stack


class UnreachableError(Exception):
    """A value cannot be had in the gradient loop; ``rejection`` says why."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.reason)
        self.rejection = rejection


class Values:
    """Values of ``body`` as its gradient loop sees them.

    Args:
        body: the pair of loops.
        outer: the same for the loops around them.
        scope: where added nodes go.
        attrs: attributes of every added node.
    """

    def __init__(
        self,
        body: Body,
        outer: Values | None,
        scope: str,
        attrs: Mapping[str, AttrValue],
        editor: GraphEditor,
    ) -> None:
        self._body = body
        self._outer = outer
        self._scope = scope
        self._attrs = attrs
        self._editor = editor
        self._copies: dict[str, str] = {}
        self._popped: dict[TensorRef, TensorRef] = {}
        self.saved: list[TensorRef] = []
        self.kept: set[str] = set()

    def bring(self, ref: TensorRef) -> TensorRef:
        """``ref`` of the forward frame, as a tensor of the gradient frame.

        Raises:
            UnreachableError: the value exists in a branch only, or its type is not known.
        """
        if ref.node in self._body.free:
            ref = self._unswitched(ref)
            return TensorRef(self._computed(ref.node), ref.index)
        origin = self._body.around.origin(ref)
        if origin in self._body.ends:
            return self._body.ends[origin]
        if ref not in self._popped:
            self._popped[ref] = self._over_stack(ref)
        return self._popped[ref]

    def in_place_of(self, stack: Stack) -> TensorRef:
        """What the readers of a stack of a free value are to read instead."""
        return self.bring(stack.value)

    def from_outside(self, ref: TensorRef) -> TensorRef:
        """``ref`` of the frame around the forward loop, as seen around the gradient loop."""
        return ref if self._outer is None else self._outer.bring(ref)

    def enter(self, ref: TensorRef, name: str, dtype: AttrValue, *, constant: bool) -> str:
        """Adds an Enter of ``ref`` into the gradient frame."""
        model = self._editor[self._body.pair.countdown.enter]
        attrs = {**model.attrs, **self._attrs, "T": dtype, "is_constant": constant}
        for about_the_model in ("_class", "_output_shapes"):
            attrs.pop(about_the_model, None)
        node = model.evolve(
            name=self._editor.unique_name(f"{self._scope}/{name}"),
            inputs=(ref,),
            control_inputs=(),
            attrs=MappingProxyType(attrs),
            extra=b"",
        )
        return self._editor.add(node)

    def _computed(self, name: str) -> str:
        """The copy of a free node; what it reads is copied first."""
        pending = [name]
        while pending:
            node = self._body.around.graph[pending[-1]]
            inside = node.op not in ENTERS and node.op != "ReadVariableOp"
            sources = (self._unswitched(r).node for r in node.inputs if inside)
            missing = [source for source in sources if source not in self._copies]
            if missing:
                pending.extend(missing)
                continue
            pending.pop()
            if node.name not in self._copies:
                self._copies[node.name] = self._copy(node)
        return self._copies[name]

    def _unswitched(self, ref: TensorRef) -> TensorRef:
        """A free value as it is outside of the branch that it entered."""
        node = self._body.around.graph[ref.node]
        while node.op in SWITCHES:
            ref = node.inputs[0]
            node = self._body.around.graph[ref.node]
        return ref

    def _copy(self, node: Node) -> str:
        if node.op in ENTERS:
            source = self.from_outside(node.inputs[0])
            return self.enter(source, f"{node.name}/Enter", node.attr("T"), constant=True)
        if node.op == "ReadVariableOp":
            return self._snapshot(node)
        sources = [self._unswitched(ref) for ref in node.inputs]
        clone = without_marks(node).evolve(
            name=self._editor.unique_name(f"{self._scope}/{node.name}"),
            inputs=tuple(TensorRef(self._copies[r.node], r.index) for r in sources),
            control_inputs=() if node.inputs else (self._body.pair.down,),
            extra=b"",
        )
        marked = {**clone.attrs, **self._attrs, CLONE_ATTR: node.name.encode()}
        clone = clone.evolve(attrs=MappingProxyType(marked))
        return self._editor.add(clone, origin=node.name)

    def _snapshot(self, read: Node) -> str:
        """One read of a variable behind the outermost loop, entered into the gradient loop."""
        if self._outer is not None:
            outermost = self._outermost_snapshot(read)
        else:
            outermost = self._read_behind(read)
        return self.enter(outermost, f"{read.name}/Enter", read.attr("dtype"), constant=True)

    def _outermost_snapshot(self, read: Node) -> TensorRef:
        assert self._outer is not None
        if self._outer._outer is None:
            source = self._outer._read_behind(read)
        else:
            source = self._outer._outermost_snapshot(read)
        name = self._outer.enter(source, f"{read.name}/Enter", read.attr("dtype"), constant=True)
        return TensorRef(name)

    def _read_behind(self, read: Node) -> TensorRef:
        rereads, pair = self._body.rereads, self._body.pair
        handle = rereads.handle(read.name)
        assert handle is not None
        exits = tuple(name for variable in pair.forward.variables for name in variable.exits)
        clone = without_marks(read).evolve(
            name=self._editor.unique_name(f"{self._scope}/{read.name}"),
            inputs=(TensorRef(handle),),
            control_inputs=exits,
            extra=b"",
        )
        clone = clone.evolve(attrs=MappingProxyType({**clone.attrs, **self._attrs}))
        name = self._editor.add(clone, origin=read.name)
        writers = rereads.late_writers(read.name, pair)
        done = name
        if writers and rereads.contexts.get(exits[0]):
            done = add_done(name, (name,), self._attrs, self._editor)
        for writer in writers:
            self._editor.add_controls(writer, (done,))
        return TensorRef(name)

    def _over_stack(self, ref: TensorRef) -> TensorRef:
        pair = self._body.pair
        known = self._body.stack_of(ref)
        if known is not None:
            self.kept.add(known.name)
            return TensorRef(known.pop)
        node = self._body.around.graph[ref.node]
        dtype = ops.output_dtype(node, ref.index)
        every = ref.node in frozenset(self._body.nodes)
        model = self._body.model_for(ref)
        if dtype is None or dtype.is_ref or not every or model is None:
            raise UnreachableError(unreachable(ref, pair))
        self.saved.append(ref)
        return add_stack(pair, ref, dtype, self._scope, self._attrs, self._editor, model)


def unreachable(ref: TensorRef, pair: GradientLoop) -> Rejection:
    """The rejection of what needs a value that the gradient loop cannot have."""
    reason = f"'{ref}' is needed in the loop of '{pair.backward.cond}' and cannot be saved for it."
    return Rejection(Code.CROSSES_FRAME, reason, (ref.node, pair.backward.cond))
