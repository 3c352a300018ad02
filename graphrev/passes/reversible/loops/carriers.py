"""The variables by which a gradient loop carries streams from iteration to iteration."""

from __future__ import annotations

from collections.abc import Mapping

from graphrev.editor import GraphEditor
from graphrev.ir import AttrValue, Node, TensorRef
from graphrev.passes.reversible.loops.spans import Carry
from graphrev.recomputation.loops.body import Body
from graphrev.recomputation.loops.values import Values
from graphrev.recomputation.marked import add_marked


class Carriers:
    """Adds variables to one gradient loop.

    Args:
        scope: where added nodes go.
        attrs: attributes of every added node.
    """

    def __init__(
        self,
        body: Body,
        values: Values,
        scope: str,
        attrs: Mapping[str, AttrValue],
        editor: GraphEditor,
    ) -> None:
        self._pair = body.pair
        self._graph = body.around.graph
        self._values = values
        self._scope = scope
        self._attrs = attrs
        self._editor = editor

    def start(self, carry: Carry) -> tuple[str, TensorRef]:
        """Adds a variable that starts at the forward loop's Exit.

        Returns:
            its Merge, and its value in an iteration, which stands for ``carry.after``.
        """
        dtype = self._graph[carry.variable.merge].attr("T")
        base = f"{carry.variable.merge}/carried"
        left = carry.variable.exits or (self._exit(carry, dtype),)
        start = self._values.from_outside(TensorRef(left[0]))
        enter = TensorRef(self._values.enter(start, base, dtype, constant=False))
        merge = self._add(f"{base}/Merge", "Merge", (enter, enter), {"T": dtype, "N": 2}, carry)
        inputs = (TensorRef(merge), TensorRef(self._pair.backward.cond))
        switch = self._add(f"{base}/Switch", "Switch", inputs, {"T": dtype}, carry)
        return merge, TensorRef(switch, 1)

    def hand_on(self, carry: Carry, merge: str, before: TensorRef) -> str:
        """Ends the iteration of a variable with ``before``, which stands for ``carry.before``.

        Returns:
            the Exit through which the first state of all leaves the gradient loop.
        """
        dtype = {"T": self._graph[carry.variable.merge].attr("T")}
        base = f"{carry.variable.merge}/carried"
        following = self._add(f"{base}/NextIteration", "NextIteration", (before,), dtype)
        self._editor.set_input(merge, 1, TensorRef(following))
        switch = next(iter(self._editor.readers(merge)))
        return self._add(f"{base}/Exit", "Exit", (TensorRef(switch),), dtype)

    def _exit(self, carry: Carry, dtype: AttrValue) -> str:
        """An Exit for a variable of the forward loop that has none."""
        final = (TensorRef(carry.variable.switch),)
        return self._add(f"{carry.variable.switch}/Exit", "Exit", final, {"T": dtype}, carry)

    def _add(
        self,
        name: str,
        op: str,
        inputs: tuple[TensorRef, ...],
        attrs: Mapping[str, AttrValue],
        beside: Carry | None = None,
    ) -> str:
        device = "" if beside is None else self._graph[beside.variable.merge].device
        node = Node(f"{self._scope}/{name}", op, inputs, device=device, attrs=attrs)
        return add_marked(self._editor, node, self._attrs)
