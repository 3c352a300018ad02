"""Saves a carried stream every ``k`` iterations, which bounds the rounding drift of the others.

The forward loop pushes the stream at the end of iteration ``i`` (counted from 1) where ``i`` is a
multiple of ``k``; the gradient loop, whose countdown says the same ``i``, pops it there and goes
on with what it carries elsewhere. Push and pop lie in a branch, and a branch that is not taken
would stop whoever waits for it; a ControlTrigger does not mind (core/common_runtime/executor.cc).
"""

from __future__ import annotations

from collections.abc import Mapping

from graphrev.analysis.frames_gradients import GradientLoop
from graphrev.analysis.frames_loops import LoopVariable
from graphrev.editor import GraphEditor
from graphrev.io.constants import splat
from graphrev.ir import AttrValue, DType, Node, TensorRef
from graphrev.recomputation.loops.stacking import add_handles, add_pop, add_push
from graphrev.recomputation.marked import add_marked


class Anchors:
    """Anchors of one pair of loops, every ``every`` iterations.

    Args:
        scope: where added nodes go.
        attrs: attributes of every added node.
    """

    def __init__(
        self,
        pair: GradientLoop,
        every: int,
        scope: str,
        attrs: Mapping[str, AttrValue],
        editor: GraphEditor,
    ) -> None:
        self._pair = pair
        self._every = every
        self._scope = f"{scope}/anchor"
        self._attrs = attrs
        self._editor = editor
        self._saves = self._is_multiple(TensorRef(pair.index), pair.count, pair.index, "save")
        countdown = pair.countdown
        self._restores = self._is_multiple(countdown.value, countdown, pair.down, "restore")

    def anchor(self, stream: TensorRef, carried: TensorRef, dtype: DType) -> TensorRef:
        """Saves the forward loop's ``stream`` now and then; returns what stands for it.

        Args:
            carried: the stream as the gradient loop carries it.
        """
        pair, base = self._pair, f"{self._scope}/{stream.node}"
        ends = add_handles(pair, base, dtype, self._attrs, self._editor)
        pushed = self._switch(ends.pushed, self._saves, DType.RESOURCE, f"{base}/push")
        value = self._switch(stream, self._saves, dtype, f"{base}/value")
        inputs = (TensorRef(pushed, 1), TensorRef(value, 1))
        push = add_push(ends, inputs, (pair.index,), self._editor)
        self._wait(pair.count, push, pair.index)
        popped = self._switch(ends.popped, self._restores, DType.RESOURCE, f"{base}/pop")
        pop = add_pop(ends, TensorRef(popped, 1), (pair.down,), self._editor)
        self._wait(pair.countdown, pop, pair.down)
        kept = self._switch(carried, self._restores, dtype, f"{base}/carried")
        merged = (TensorRef(kept), TensorRef(pop))
        return TensorRef(self._add(f"{base}/Merge", "Merge", merged, {"T": dtype, "N": 2}))

    def _is_multiple(
        self, count: TensorRef, variable: LoopVariable, pivot: str, name: str
    ) -> TensorRef:
        dtype = self._editor[variable.merge].attr("T")
        base = f"{self._scope}/{name}"
        every, zero = (
            self._constant(f"{base}/{word}", value, dtype, pivot)
            for word, value in (("every", self._every), ("zero", 0))
        )
        rest = self._add(f"{base}/rest", "FloorMod", (count, every), {"T": dtype})
        return TensorRef(self._add(base, "Equal", (TensorRef(rest), zero), {"T": dtype}))

    def _constant(self, name: str, value: int, dtype: AttrValue, pivot: str) -> TensorRef:
        assert isinstance(dtype, DType)
        attrs = {"dtype": dtype, "value": splat(dtype, value)}
        return TensorRef(self._add(name, "Const", (), attrs, (pivot,)))

    def _switch(self, value: TensorRef, predicate: TensorRef, dtype: DType, base: str) -> str:
        return self._add(f"{base}/Switch", "Switch", (value, predicate), {"T": dtype})

    def _wait(self, variable: LoopVariable, name: str, pivot: str) -> None:
        """Lets the next count wait for ``name``, whether it ran or not."""
        done = self._add(f"{name}/done", "ControlTrigger", (), {}, (name, pivot))
        self._editor.add_controls(variable.next, (done,))

    def _add(
        self,
        name: str,
        op: str,
        inputs: tuple[TensorRef, ...],
        attrs: Mapping[str, AttrValue],
        controls: tuple[str, ...] = (),
    ) -> str:
        device = self._editor[inputs[0].node].device if inputs else ""
        return add_marked(
            self._editor, Node(name, op, inputs, controls, device, attrs), self._attrs
        )
