"""Random ops whose numbers are drawn again instead of kept.

``RandomUniform`` and its kin draw other numbers each time they run, so a copy cannot repeat them.
Their stateless twins (``StatelessRandomUniform`` …, in TensorFlow since 1.5) compute the same
numbers from the same seed, so forward and recomputed tensors agree bit for bit. The seed is two
integers, drawn once a step by an op that keeps the original's own seeds: a program that was
reproducible stays so, with other numbers than before.
"""

from __future__ import annotations

from types import MappingProxyType

from graphrev.editor import GraphEditor
from graphrev.io.constants import splat, vector
from graphrev.ir import AttrValue, DType, Node, TensorRef, TensorValue
from graphrev.ir.marks import REPLACES_ATTR

_LARGEST = 2**31 - 1


def add_seed(name: str, editor: GraphEditor) -> TensorRef:
    """Adds an op that draws a seed of two int32 a step for the random op ``name``."""
    node = editor[name]
    shape = _constant(f"{name}/seed/shape", vector(DType.INT32, (2,)), node, editor)
    low = _constant(f"{name}/seed/minval", splat(DType.INT32, 0), node, editor)
    high = _constant(f"{name}/seed/maxval", splat(DType.INT32, _LARGEST), node, editor)
    attrs: dict[str, AttrValue] = {"T": DType.INT32, "Tout": DType.INT32}
    attrs.update({key: node.attrs[key] for key in ("seed", "seed2") if key in node.attrs})
    seed = Node(
        name=editor.unique_name(f"{name}/seed"),
        op="RandomUniformInt",
        inputs=(shape, low, high),
        device=node.device,
        attrs=MappingProxyType(attrs),
    )
    return TensorRef(editor.add(seed))


def replace_by_twin(name: str, twin: str, seed: TensorRef, editor: GraphEditor) -> TensorRef:
    """Adds the stateless twin of random op ``name``; every reader of the op reads it instead.

    Args:
        twin: the twin's op type.
        seed: two int32, the seed the twin draws from.

    Returns:
        The twin's output.
    """
    added = twin_node(editor[name], twin, seed).evolve(
        name=editor.unique_name(f"{name}/stateless"), extra=b""
    )
    added = added.with_attr(REPLACES_ATTR, str(TensorRef(name)).encode())
    readers = tuple(editor.readers(name))
    drawn = TensorRef(editor.add(added, origin=name))
    editor.redirect(TensorRef(name), drawn, readers)
    return drawn


def twin_node(node: Node, twin: str, seed: TensorRef) -> Node:
    """``node`` as its stateless twin, drawing from ``seed``."""
    attrs = {key: value for key, value in node.attrs.items() if key not in ("seed", "seed2")}
    attrs["Tseed"] = DType.INT32
    return node.evolve(op=twin, inputs=(node.inputs[0], seed), attrs=MappingProxyType(attrs))


def _constant(name: str, value: TensorValue, near: Node, editor: GraphEditor) -> TensorRef:
    node = Node(
        name=editor.unique_name(name),
        op="Const",
        device=near.device,
        attrs=MappingProxyType({"dtype": DType.INT32, "value": value}),
    )
    return TensorRef(editor.add(node))
