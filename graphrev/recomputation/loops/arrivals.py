"""When the gradients of the iteration before are all there.

Without anything to wait for, the gradient loop would compute again as many iterations ahead as
``parallel_iterations`` lets it, and keep all of that. Its variables carry the gradients from one
iteration to the next.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphrev.analysis.frames_gradients import GradientLoop
from graphrev.editor import GraphEditor
from graphrev.ir import AttrValue, Node
from graphrev.recomputation.marked import add_marked


def arrivals(
    pair: GradientLoop, scope: str, attrs: Mapping[str, AttrValue], editor: GraphEditor
) -> tuple[str, ...]:
    """Adds nodes that have run once the iteration before has delivered all its gradients."""
    names: list[str] = []
    for variable in pair.backward.variables:
        if variable == pair.countdown:
            continue
        node = editor.graph[variable.merge]
        name, kind = f"{scope}/{variable.merge}/arrived", {"T": node.attr("T")}
        arrived = Node(name, "Identity", (variable.value,), device=node.device, attrs=kind)
        names.append(add_marked(editor, arrived, attrs))
    return tuple(names)
