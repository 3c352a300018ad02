"""Writes the recomputation of one loop's body into its gradient loop.

Iteration ``k`` of the gradient loop belongs to iteration ``n - 1 - k`` of the forward loop and pops
what that one saved, so copies of the body there, reading the popped state, compute the very values
that the forward iteration computed. All they read is there when the iteration starts: pops, free
values, and slices of what was there before. So no copy can wait for itself, whatever else the loops
do. The gates (one identity for each saved value, one for all slices) wait until the gradients of
the iteration before are all there; otherwise the copies would run ahead of them by
``parallel_iterations`` iterations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from graphrev.analysis import ops
from graphrev.editor import GraphEditor
from graphrev.ir import AttrValue, Node, TensorRef
from graphrev.ir.deferred import CLONE_ATTR
from graphrev.ir.marks import without_marks
from graphrev.passes.recompute.loops.needs import Needs
from graphrev.passes.recompute.loops.slices import Kept, Reader
from graphrev.pipeline import Code, Rejection
from graphrev.recomputation.loops.arrivals import arrivals
from graphrev.recomputation.loops.body import Body
from graphrev.recomputation.loops.stacking import remove_stack
from graphrev.recomputation.loops.values import UnreachableError, Values


class LoopWriter:
    """Writes one body; remembers gates and copies."""

    def __init__(
        self,
        body: Body,
        needs: Needs,
        kept: Mapping[TensorRef, Kept],
        values: Values,
        scope: str,
        attrs: Mapping[str, AttrValue],
        editor: GraphEditor,
    ) -> None:
        self._body = body
        self._graph = body.around.graph
        self._needs = needs
        self._kept = kept
        self._values = values
        self._scope = scope
        self._attrs = attrs
        self._editor = editor
        self._gates: dict[TensorRef, TensorRef] = {}
        self._copies: dict[str, str] = {}

    def write(self) -> tuple[str, ...]:
        """Adds gates and copies and takes the stacks away; returns the removed stacks.

        Raises:
            UnreachableError: a source cannot be saved.
        """
        pushed = {self._body.around.origin(ref): ref for ref in reversed(self._body.pushed())}
        waits = arrivals(self._body.pair, self._scope, self._attrs, self._editor)
        slices = Reader(self._body, self._values, self._scope, self._attrs, self._editor, waits)
        for origin, ref in self._needs.sources.items():
            if origin in self._kept:
                self._gates[origin] = slices.read(origin, self._kept[origin])
                continue
            value = self._values.bring(pushed.get(origin, ref))
            self._gates[origin] = self._gate(origin, value, waits)
        for name in self._needs.clones:
            self._copies[name] = self._copy(name)
        return tuple(self._replace())

    def result(self, ref: TensorRef, name: str) -> str:
        """Adds a node that runs when the copy of ``ref``, a value of the body, is computed."""
        return self._identity(self._input(ref), ref, name, ())

    def _gate(self, ref: TensorRef, value: TensorRef, waits: tuple[str, ...]) -> TensorRef:
        return TensorRef(self._identity(value, ref, f"{self._scope}/{ref.node}/gate", waits))

    def _identity(self, value: TensorRef, ref: TensorRef, name: str, waits: tuple[str, ...]) -> str:
        """An identity of ``value``, which stands for ``ref``."""
        source = self._graph[ref.node]
        dtype = ops.output_dtype(source, ref.index)
        if dtype is None:
            reason = f"The type of '{ref}', which a recomputation starts from, is not known."
            raise UnreachableError(Rejection(Code.UNKNOWN_OP, reason, (ref.node,)))
        node = Node(
            name=self._editor.unique_name(name),
            op="Identity",
            inputs=(value,),
            control_inputs=waits,
            device=source.device,
            attrs=MappingProxyType({"T": dtype.base, **self._attrs}),
        )
        return self._editor.add(node)

    def _copy(self, name: str) -> str:
        node = without_marks(self._graph[name])
        clone = node.evolve(
            name=self._editor.unique_name(f"{self._scope}/{name}"),
            inputs=tuple(self._input(ref) for ref in node.inputs),
            control_inputs=(),
            attrs=MappingProxyType({**node.attrs, **self._attrs, CLONE_ATTR: name.encode()}),
            extra=b"",
        )
        return self._editor.add(clone, origin=name)

    def _input(self, ref: TensorRef) -> TensorRef:
        origin = self._body.around.origin(ref)
        if origin in self._gates:
            return self._gates[origin]
        if origin.node in self._copies:
            return TensorRef(self._copies[origin.node], origin.index)
        return self._values.bring(ref)

    def _is_kept(self, ref: TensorRef) -> bool:
        return self._body.around.origin(ref) in self._kept

    def _replace(self) -> Iterator[str]:
        pair, body = self._body.pair, self._body
        again = [s for s in body.stacks if s.name not in body.gone and self._is_kept(s.value)]
        for stack in (*self._needs.replaced, *self._needs.free, *again):
            if stack.name in self._values.kept:
                continue
            free = stack.value.node in body.free
            value = self._values.in_place_of(stack) if free else self._input(stack.value)
            readers = tuple(self._editor.readers(stack.pop))
            self._editor.redirect(TensorRef(stack.pop), value, readers)
            remove_stack(pair, stack, self._editor)
            yield stack.name
