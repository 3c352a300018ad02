"""Carries a plan out: weights are cut, and what spells their sizes is told the new ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphrev.editor import GraphEditor
from graphrev.io import constants
from graphrev.io.tensors import integers
from graphrev.ir import AttrValue, DType, Node, Shape, TensorRef, TensorValue
from graphrev.passes.shrink.folding import Bias
from graphrev.passes.shrink.norms import FoldedNorm
from graphrev.passes.shrink.plan import Resplit, ShrinkPlan, Smaller

_SHAPES_ATTR = "_output_shapes"
"""What TensorFlow writes beside a node when it exports a MetaGraphDef."""


def apply_plan(plan: ShrinkPlan, editor: GraphEditor) -> None:
    """Makes the edits of ``plan``."""
    dtypes = {bias.product.node: _dtype(editor, bias) for bias in plan.biases}
    by_name = {one.name: one for one in plan.smaller}
    for initial in plan.initials:
        with editor.because(initial.variable, "the first value is cut to size"):
            _cut_initial(editor, initial.node, by_name[initial.variable])
    for one in plan.smaller:
        with editor.because(one.name, "channels that are all zero are removed"):
            _cut_weights(editor, one)
    for target, size in plan.targets:
        with editor.because(target.node, "its shape spells the number of channels"):
            _respell(editor, target.node, target.position, target.axis, size)
    for resplit in plan.splits:
        with editor.because(resplit.node, "its parts have fewer channels"):
            _resplit(editor, resplit)
    for bias in plan.biases:
        with editor.because(bias.product.node, "what the removed channels added is kept"):
            _add_bias(editor, bias, dtypes[bias.product.node])
    with editor.because("batch norms", "their scale is in the kernel, the rest is a bias"):
        editor.rename_all({_fold_norm(editor, norm): norm.node for norm in plan.norms})
    with editor.because("shapes", "the stored shape is no longer true"):
        for name in plan.resized:
            if name in editor and _SHAPES_ATTR in editor[name].attrs:
                editor.set_attr(name, _SHAPES_ATTR, None)


def _cut_weights(editor: GraphEditor, one: Smaller) -> None:
    node = editor[one.name]
    value = node.attrs.get("value")
    if isinstance(value, TensorValue):
        assert one.values is not None
        editor.set_attr(one.name, "value", constants.from_array(value.dtype, one.values))
    elif one.kept:
        editor.set_attr(one.name, "shape", Shape(one.after))
        for reader in tuple(editor.readers(one.name)):
            if _SHAPES_ATTR in editor[reader].attrs:
                editor.set_attr(reader, _SHAPES_ATTR, None)


def _constant(
    editor: GraphEditor, name: str, value: TensorValue, like: Node, *, waits: Sequence[str] = ()
) -> TensorRef:
    """A new constant on the device of ``like``."""
    attrs: Mapping[str, AttrValue] = {"dtype": value.dtype, "value": value}
    free = editor.unique_name(name)
    node = Node(free, "Const", control_inputs=tuple(waits), device=like.device, attrs=attrs)
    return TensorRef(editor.add(node))


def _cut_initial(editor: GraphEditor, assign: str, one: Smaller) -> None:
    """Takes the places that stay of what the variable starts as."""
    node = editor[assign]
    dtype = node.dtype_attr("T" if "T" in node.attrs else "dtype")
    for axis, places in one.kept.items():
        scope = f"{assign}/shrunk"
        picked = _constant(editor, f"{scope}/places", constants.vector(DType.INT32, places), node)
        along = _constant(editor, f"{scope}/axis", constants.splat(DType.INT32, axis), node)
        attrs: Mapping[str, AttrValue] = {
            "Tparams": dtype,
            "Tindices": DType.INT32,
            "Taxis": DType.INT32,
            "batch_dims": 0,
        }
        name = editor.unique_name(scope)
        inputs = (editor[assign].inputs[1], picked, along)
        taken = Node(name, "GatherV2", inputs, device=node.device, attrs=attrs)
        editor.set_input(assign, 1, TensorRef(editor.add(taken)))


def _respell(editor: GraphEditor, name: str, position: int, axis: int, size: int) -> None:
    """Gives ``name`` a shape of its own with another size along ``axis``."""
    operand = editor[editor[name].inputs[position].node]
    value = operand.attrs.get("value")
    if isinstance(value, TensorValue):
        spelled = list(integers(value) or ())
        spelled[axis] = size
        new = _constant(
            editor,
            f"{name}/shrunk_shape",
            constants.vector(value.dtype, spelled),
            operand,
            waits=operand.control_inputs,
        )
        editor.set_input(name, position, new)
    else:
        part = editor[operand.inputs[axis].node]
        held = part.tensor_attr("value")
        number = constants.splat(held.dtype, size)
        waits = part.control_inputs
        new = _constant(editor, f"{name}/shrunk_size", number, part, waits=waits)
        inputs = (*operand.inputs[:axis], new, *operand.inputs[axis + 1 :])
        copy = editor.clone(operand.name, f"{name}/shrunk_shape", inputs, operand.control_inputs)
        editor.set_input(name, position, TensorRef(copy))
    _drop_unread(editor, operand.name)


def _drop_unread(editor: GraphEditor, name: str) -> None:
    if next(iter(editor.readers(name)), None) is None:
        editor.remove(name)


def _resplit(editor: GraphEditor, plan: Resplit) -> None:
    """A split into equal parts becomes one into parts of given sizes."""
    node = editor[plan.node]
    sizes = constants.vector(DType.INT32, plan.sizes)
    if node.op == "SplitV":
        old = editor[node.inputs[1].node]
        value = old.tensor_attr("value")
        sizes = constants.vector(value.dtype, plan.sizes)
        new = _constant(editor, f"{plan.node}/shrunk_sizes", sizes, node, waits=old.control_inputs)
        editor.set_input(plan.node, 1, new)
        _drop_unread(editor, old.name)
        return
    axis, data = node.inputs
    waits = editor[axis.node].control_inputs
    new = _constant(editor, f"{plan.node}/shrunk_sizes", sizes, node, waits=waits)
    kept = {key: value for key, value in node.attrs.items() if key != _SHAPES_ATTR}
    attrs: Mapping[str, AttrValue] = {**kept, "Tlen": DType.INT32}
    name = editor.unique_name(f"{plan.node}/shrunk")
    split = Node(name, "SplitV", (data, new, axis), node.control_inputs, node.device, attrs)
    editor.add(split, origin=plan.node)
    _hand_over(editor, plan.node, name, len(plan.sizes))


def _hand_over(editor: GraphEditor, old: str, new: str, outputs: int) -> None:
    """Makes whoever reads or waits for ``old`` do so for ``new``, and removes ``old``."""
    for index in range(outputs):
        readers = tuple(editor.readers(old))
        editor.redirect(TensorRef(old, index), TensorRef(new, index), readers)
    for reader in tuple(editor.readers(old)):
        controls = editor[reader].control_inputs
        editor.set_controls(reader, tuple(new if c == old else c for c in controls))
    editor.remove(old)


def _fold_norm(editor: GraphEditor, norm: FoldedNorm) -> str:
    """Puts a bias in the norm's place; it is to get the norm's name, which others may know."""
    node = editor[norm.node]
    vector = _constant(
        editor,
        f"{norm.node}/folded_bias",
        constants.from_array(DType.FLOAT, norm.bias),
        node,
        waits=editor[node.inputs[1].node].control_inputs,
    )
    kept = ("data_format", "_class", _SHAPES_ATTR)
    attrs: dict[str, AttrValue] = {key: node.attrs[key] for key in kept if key in node.attrs}
    shapes = attrs.pop(_SHAPES_ATTR, None)
    if isinstance(shapes, tuple):
        attrs[_SHAPES_ATTR] = shapes[:1]
    inputs, controls = (node.inputs[0], vector), node.control_inputs
    free = editor.unique_name(f"{norm.node}/folded")
    added = Node(free, "BiasAdd", inputs, controls, node.device, {**attrs, "T": DType.FLOAT})
    editor.add(added, origin=norm.node)
    _hand_over(editor, norm.node, free, 1)
    for source in dict.fromkeys(ref.node for ref in node.inputs[1:]):
        _drop_weights(editor, source)
    return free


def _drop_weights(editor: GraphEditor, name: str) -> None:
    """Removes a constant, and what reads it on, where nothing reads that any more."""
    while next(iter(editor.readers(name)), None) is None:
        source = editor[name].inputs
        editor.remove(name)
        if not source:
            return
        name = source[0].node


def _dtype(editor: GraphEditor, bias: Bias) -> DType:
    dtype = editor[bias.product.node].dtype_attr("T")
    return dtype


def _add_bias(editor: GraphEditor, bias: Bias, dtype: DType) -> None:
    name = bias.product.node
    node = editor[name]
    readers = tuple(editor.readers(name))
    kernel = editor[bias.product.kernel.node]
    vector = _constant(
        editor,
        f"{name}/shrunk_bias",
        constants.from_array(dtype, bias.values),
        node,
        waits=kernel.control_inputs,
    )
    data_format = node.attrs.get("data_format", b"NHWC")
    is_first = isinstance(data_format, bytes) and data_format.startswith(b"NC")
    attrs: Mapping[str, AttrValue] = {"T": dtype, "data_format": b"NCHW" if is_first else b"NHWC"}
    added = Node(
        editor.unique_name(f"{name}/BiasAdd"),
        "BiasAdd",
        (TensorRef(name), vector),
        device=node.device,
        attrs=attrs,
    )
    ref = TensorRef(editor.add(added))
    editor.redirect(TensorRef(name), ref, readers)
