"""Values of a loop's iterations that need not be saved: slices of what is in memory anyway.

Two kinds, both copies of the very bits, both proven by structure
(:mod:`graphrev.analysis.tensor_arrays`):

* what an iteration reads from a TensorArray that a placeholder or a constant was taken apart into
  (the inputs of ``dynamic_rnn``): what is fed is there for the whole step;
* a loop variable whose new value every iteration also writes to a TensorArray that is put together
  behind the loop (an LSTM's ``h``, which is its output too), where the gradient loop waits for
  what comes of that anyway, a loss on all outputs. Iteration ``i`` got slice ``i - 1``, the first
  one what entered the loop. An array has at least one slice an iteration, and is taken to have no
  more, so keeping it costs what the stack would.

Forward iteration ``i`` belongs to the gradient iteration whose countdown comes to ``i``
(:mod:`graphrev.analysis.frames_gradients`), so nothing is added to either loop's variables.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from graphrev.analysis import ops
from graphrev.analysis.frames_gradients import GradientLoop
from graphrev.analysis.frames_loops import LoopVariable
from graphrev.analysis.order import descendant_labels
from graphrev.analysis.shapes import Shapes
from graphrev.analysis.tensor_arrays import Slices, TensorArrays
from graphrev.editor import GraphEditor
from graphrev.io.constants import splat
from graphrev.ir import AttrValue, DType, Node, TensorRef
from graphrev.recomputation.loops.body import Body
from graphrev.recomputation.loops.values import Values
from graphrev.recomputation.marked import add_marked


@dataclass(frozen=True, slots=True)
class Kept:
    """Where the value of an iteration is found again.

    Attributes:
        slices: the tensor whose slices the values are.
        first: what entered the loop, where iteration ``i`` got slice ``i - 1``.
    """

    slices: Slices
    first: TensorRef | None = None


def kept_values(
    body: Body, shapes: Shapes, sources: Iterable[TensorRef], fed: Container[TensorRef]
) -> Mapping[TensorRef, Kept]:
    """Those of ``sources``, values of the body behind identities, that need not be saved.

    Args:
        fed: tensors that users feed by name.
    """
    return dict(_Search(body, shapes, fed).run(sources)) if _is_plain(body) else {}


def _is_plain(body: Body) -> bool:
    """Whether the two loops lie in no other loop and no branch, and all of the body is meant."""
    pair = body.pair
    places = (body.here, body.contexts.get(pair.down, ()))
    return body.is_whole and pair.outer is None and all(len(place) == 1 for place in places)


@dataclass(frozen=True, eq=False)
class _Search:
    body: Body
    shapes: Shapes
    fed: Container[TensorRef]

    def run(self, sources: Iterable[TensorRef]) -> Iterator[tuple[TensorRef, Kept]]:
        body = self.body
        graph, loop = body.around.graph, body.pair.forward
        arrays = TensorArrays(graph, body.around.flow.frames, self._numbers, self.fed)
        variables = {variable.value: variable for variable in loop.variables}
        writes: dict[TensorRef, str] = {}
        for name in body.nodes:
            if graph[name].op == "TensorArrayWriteV3":
                writes.setdefault(body.around.origin(graph[name].inputs[2]), name)
        for ref in sources:
            if ref in variables:
                kept = self._output(arrays, variables[ref], writes)
            else:
                kept = self._input(arrays, ref)
            if kept is not None:
                yield ref, kept

    def _numbers(self, ref: TensorRef) -> tuple[int, ...] | None:
        found = self.shapes.values.get(ref)
        if found is None:
            return None
        known = tuple(number for number in found if isinstance(number, int))
        return known if len(known) == len(found) else None

    def _input(self, arrays: TensorArrays, ref: TensorRef) -> Kept | None:
        slices = arrays.read(ref.node, self.body.pair.forward)
        if slices is None:
            return None
        op = self.body.around.graph[slices.whole.node].op
        return Kept(slices) if ops.is_placeholder(op) or ops.is_constant(op) else None

    def _output(
        self, arrays: TensorArrays, variable: LoopVariable, writes: Mapping[TensorRef, str]
    ) -> Kept | None:
        around, pair = self.body.around, self.body.pair
        following = around.origin(around.graph[variable.next].inputs[0])
        if following not in writes:
            return None
        slices = arrays.written(writes[following], pair.forward)
        if slices is None or self.body.contexts.get(slices.whole.node):
            return None
        if not _waits_for(self.body, pair, slices.whole.node):
            return None
        return Kept(slices, around.graph[variable.enter].inputs[0])


def _waits_for(body: Body, pair: GradientLoop, name: str) -> bool:
    """Whether the gradient loop cannot start before the node ``name`` has run."""
    index = body.around.index
    labels = descendant_labels(index, [[index.ids[name]]], control=True)
    loop = pair.backward
    enters = (*(variable.enter for variable in loop.variables), *loop.invariants)
    return any(labels[index.ids[enter]] for enter in enters)


@dataclass(eq=False)
class Reader:
    """Reads slices in the gradient loop, once ``waits`` are there.

    Attributes:
        scope: where added nodes go.
        attrs: attributes of every added node.
    """

    body: Body
    values: Values
    scope: str
    attrs: Mapping[str, AttrValue]
    editor: GraphEditor
    waits: tuple[str, ...]

    def read(self, ref: TensorRef, kept: Kept) -> TensorRef:
        """Adds nodes that find ``ref``, a value of the body behind identities, again."""
        dtype = ops.output_dtype(self.body.around.graph[ref.node], ref.index)
        assert dtype is not None, f"{ref} came out of a TensorArray or a loop variable."
        kind, name = dtype.base, f"{self.scope}/{ref.node}"
        if kept.first is None:
            return self._slice(name, kept.slices, self._number, kind)
        later = self._add(
            f"{name}/later", "GreaterEqual", (self._number, self._one), {"T": self._counts}
        )
        before = self._add(f"{name}/before", "Sub", (self._number, self._one), {"T": self._counts})
        number = self._add(f"{name}/number", "Switch", (before, later), {"T": self._counts})
        sliced = self._slice(name, kept.slices, TensorRef(number.node, 1), kind)
        entered = self.values.enter(kept.first, f"{ref.node}/first/Enter", kind, constant=True)
        first = self._add(f"{name}/first", "Switch", (TensorRef(entered), later), {"T": kind})
        return self._add(f"{name}/Merge", "Merge", (first, sliced), {"T": kind, "N": 2})

    def _slice(self, name: str, slices: Slices, number: TensorRef, kind: DType) -> TensorRef:
        whole = self.values.enter(slices.whole, f"{slices.whole.node}/Enter", kind, constant=True)
        pair = self.body.pair
        about: dict[str, AttrValue] = {
            "dtype": DType.INT32,
            "value": splat(DType.INT32, slices.axis),
        }
        axis = self._add(f"{name}/axis", "Const", (), about, (pair.down,))
        types = {"Tparams": kind, "Tindices": self._counts, "Taxis": DType.INT32}
        return self._add(f"{name}/slice", "GatherV2", (TensorRef(whole), number, axis), types)

    @cached_property
    def _number(self) -> TensorRef:
        """The number of the forward iteration, once ``waits`` are there."""
        down = TensorRef(self.body.pair.down)
        name = f"{self.scope}/iteration"
        return self._add(name, "Identity", (down,), {"T": self._counts}, self.waits)

    @property
    def _counts(self) -> AttrValue:
        return self.body.around.graph[self.body.pair.down].attr("T")

    @property
    def _one(self) -> TensorRef:
        """What the countdown subtracts, an integer 1 in the gradient loop."""
        return self.body.around.graph[self.body.pair.down].inputs[1]

    def _add(
        self,
        name: str,
        op: str,
        inputs: tuple[TensorRef, ...],
        attrs: Mapping[str, AttrValue],
        controls: tuple[str, ...] = (),
    ) -> TensorRef:
        device = self.body.around.graph[self.body.pair.down].device
        node = Node(name, op, inputs, controls, device=device, attrs=attrs)
        return TensorRef(add_marked(self.editor, node, self.attrs))
