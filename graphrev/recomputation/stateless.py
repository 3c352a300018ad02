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
from graphrev.ir import AttrValue, DType, Node, Shape, TensorRef, TensorValue

REPLACES_ATTR = "_graphrev_replaces"
_LARGEST = 2**31 - 1


def add_seed(name: str, editor: GraphEditor) -> TensorRef:
    """Adds an op that draws a seed of two int32 a step for the random op ``name``."""
    node = editor[name]
    shape = _constant(f"{name}/seed/shape", (2,), (1,), node, editor)
    low = _constant(f"{name}/seed/minval", (0,), (), node, editor)
    high = _constant(f"{name}/seed/maxval", (_LARGEST,), (), node, editor)
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
    added = added.with_attr(REPLACES_ATTR, name.encode())
    readers = tuple(editor.readers(name))
    drawn = TensorRef(editor.add(added, origin=name))
    editor.redirect(TensorRef(name), drawn, readers)
    return drawn


def twin_node(node: Node, twin: str, seed: TensorRef) -> Node:
    """``node`` as its stateless twin, drawing from ``seed``."""
    attrs = {key: value for key, value in node.attrs.items() if key not in ("seed", "seed2")}
    attrs["Tseed"] = DType.INT32
    return node.evolve(op=twin, inputs=(node.inputs[0], seed), attrs=MappingProxyType(attrs))


def _constant(
    name: str, values: tuple[int, ...], dims: tuple[int, ...], near: Node, editor: GraphEditor
) -> TensorRef:
    value = TensorValue(DType.INT32, Shape(dims), _int32_proto(values, dims))
    node = Node(
        name=editor.unique_name(name),
        op="Const",
        device=near.device,
        attrs=MappingProxyType({"dtype": DType.INT32, "value": value}),
    )
    return TensorRef(editor.add(node))


def _int32_proto(values: tuple[int, ...], dims: tuple[int, ...]) -> bytes:
    """A TensorProto of int32 ``values`` (tensor.proto: dtype = 1, shape = 2, content = 4)."""
    shape = b"".join(b"\x12\x02\x08" + bytes([dim]) for dim in dims)
    content = b"".join(value.to_bytes(4, "little") for value in values)
    head = bytes([0x08, DType.INT32, 0x12, len(shape)])
    return head + shape + bytes([0x22, len(content)]) + content
