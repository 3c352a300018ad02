"""Carries a mask plan out, edit by edit. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphrev.editor import GraphEditor
from graphrev.io import constants
from graphrev.ir import AttrValue, DType, TensorRef
from graphrev.ir.marks import COLLECTIONS_ATTR, GROUP_ATTR, KERNELS, ZEROS_ATTR, collections_of
from graphrev.passes.mask.masked import Masked
from graphrev.passes.mask.nodes import AddedVariable, Writer, add_variable
from graphrev.passes.mask.plan import (
    GradientMask,
    KernelPlan,
    MaskPlan,
    ReadPlan,
    SaverPlan,
    group_zeros,
)
from graphrev.passes.mask.restoring import add_restore
from graphrev.passes.mask.rewiring import Rewire
from graphrev.passes.mask.roles import JOINS
from graphrev.passes.mask.running import add_running, add_steps
from graphrev.passes.mask.saving import SHAPES_ATTR, Saved, extend_save
from graphrev.passes.mask.updating import add_update

_VARIABLES = ("variables", "model_variables")


def apply_masks(plan: MaskPlan, editor: GraphEditor) -> None:
    """Makes the edits of ``plan``."""
    done: dict[str, Masked] = {}
    for kernel in plan.kernels:
        with editor.because(kernel.variable, "read the kernel through its mask"):
            together = [k for k in plan.kernels if kernel.group and k.group == kernel.group]
            done[kernel.variable] = _mask(editor, kernel, together)
    roots = {
        read.tensor: done[kernel.variable].mask.value
        for kernel in plan.kernels
        for read in kernel.reads
    }
    for kernel in plan.kernels:
        with editor.because(kernel.variable, "mask the kernel's gradient"):
            _mask_gradients(editor, kernel, roots, done[kernel.variable])
    step = None
    if plan.update is not None:
        with editor.because("mask update", "update the masks in the training step"):
            first = [name for masked in done.values() for name in add_steps(editor, masked)]
            step = add_update(editor, plan.update, tuple(done.values()), first)
    with editor.because("saver", "save, restore and initialize the masks with their kernels"):
        for saver in plan.savers:
            _extend(editor, saver, _saved(saver, done, step))
        _initialize(editor, plan, done, step)


def _records(kernel: KernelPlan, together: Sequence[KernelPlan]) -> Mapping[str, AttrValue]:
    """What a mask says about its target: the zeros it is to have, or its group is."""
    if kernel.group:
        return {GROUP_ATTR: (kernel.group.encode(),), ZEROS_ATTR: group_zeros(together)}
    return {} if kernel.zeros is None else {ZEROS_ATTR: kernel.zeros}


def _mask(editor: GraphEditor, kernel: KernelPlan, together: Sequence[KernelPlan]) -> Masked:
    writer = Writer(editor, kernel.scope, kernel.variable, kernel.device, place=kernel.variable)
    mask = add_variable(
        writer,
        f"mask{kernel.part}",
        constants.splat(kernel.dtype, 1.0, kernel.dims),
        is_resource=kernel.is_resource,
        role="mask",
        collections=(*_VARIABLES, "masks"),
        records=_records(kernel, together),
    )
    threshold = add_variable(
        writer,
        f"threshold{kernel.part}",
        constants.splat(kernel.dtype, 0.0),
        is_resource=kernel.is_resource,
        role="threshold",
        collections=(*_VARIABLES, "thresholds"),
    )
    listed = collections_of(editor[kernel.variable])
    names = tuple(name.encode() for name in dict.fromkeys((*listed, KERNELS)))
    editor.set_attr(kernel.variable, COLLECTIONS_ATTR, names)
    done = Masked(kernel, mask, threshold, add_running(writer, kernel))
    hoisted: TensorRef | None = None
    for read in kernel.reads:
        if read.path:
            hoisted = hoisted or _hoist(editor, writer, kernel, read, mask)
            value = _lead_in(
                editor, writer, read.path, read.tensor, hoisted, done.views, "weights/masked_in"
            )
        else:
            value = done.products[read.tensor] = _multiply(writer, kernel, mask, read.tensor)
        _rewire(editor, writer, value, read.rewires)
    return done


def _multiply(
    writer: Writer, kernel: KernelPlan, mask: AddedVariable, value: TensorRef
) -> TensorRef:
    return writer.add(
        "Mul",
        f"weights/masked_weight{kernel.part}",
        (mask.value, value),
        {"T": kernel.dtype},
        role="masked_weight",
        replaces=value,
        collections=("masked_weights",),
    )


def _hoist(
    editor: GraphEditor, writer: Writer, kernel: KernelPlan, read: ReadPlan, mask: AddedVariable
) -> TensorRef:
    """The masked value of a variable that is only read inside control flow, outside of it."""
    waits = editor[read.path[0]].control_inputs
    value = writer.add(
        "ReadVariableOp",
        "weights/ReadVariableOp",
        (TensorRef(kernel.variable),),
        {"dtype": kernel.dtype},
        waits=waits,
        role="hoisted",
    )
    return _multiply(writer, kernel, mask, value)


def _lead_in(
    editor: GraphEditor,
    writer: Writer,
    path: tuple[str, ...],
    read: TensorRef,
    value: TensorRef,
    done: dict[str, TensorRef],
    name_in: str,
) -> TensorRef:
    """``value`` inside the loop or branch of ``read``, led there as the handle was."""
    follower = (*path[1:], read.node)
    for step, after in zip(path, follower):
        node = editor.graph[step]
        index = editor.graph[after].inputs[0].index
        name = f"{name_in} of {step}"
        if name not in done:
            kept = {k: v for k, v in node.attrs.items() if k != SHAPES_ATTR}  # the handle's
            attrs = {**kept, "T": _dtype_of(editor, value)}
            inputs = (value, *node.inputs[1:])
            done[name] = writer.add(
                node.op,
                name_in,
                inputs,
                attrs,
                waits=node.control_inputs,
                role="led-in",
                replaces=read,
            )
        value = TensorRef(done[name].node, index)
    return value


def _dtype_of(editor: GraphEditor, value: TensorRef) -> DType:
    """The type of a tensor that was added."""
    node = editor[value.node]
    dtype = node.attrs.get("T", node.attrs.get("dtype"))
    assert isinstance(dtype, DType)
    return dtype


def _rewire(editor: GraphEditor, writer: Writer, value: TensorRef, found: Sequence[Rewire]) -> None:
    for rewire in found:
        if rewire.copied is None:
            editor.set_input(rewire.reader, rewire.position, value)
            continue
        view = editor[rewire.reader]
        inputs = list(view.inputs)
        inputs[rewire.position] = value
        copy = writer.add(
            view.op,
            "weights/masked_view",
            inputs,
            view.attrs,
            waits=view.control_inputs,
            role="view",
            replaces=TensorRef(view.name),
        )
        for index, inner in rewire.copied:
            _rewire(editor, writer, TensorRef(copy.node, index), inner)


def _mask_gradients(
    editor: GraphEditor, kernel: KernelPlan, roots: dict[TensorRef, TensorRef], done: Masked
) -> None:
    for gradient in kernel.gradients:
        source = editor[gradient.tensor.node]
        writer = Writer(editor, f"{source.name}_", kernel.variable, source.device)
        mask = _led_in_mask(editor, writer, gradient, done)
        for view in gradient.views:
            mask = _through(editor, writer, view, mask, roots, done.views)
        readers = [
            name
            for name in editor.graph.readers_of(gradient.tensor)
            if gradient.tensor in editor[name].inputs
        ]
        dtype = _float_of(editor, mask, kernel.dtype)
        masked = writer.add(
            "Mul",
            "masked",
            (gradient.tensor, mask),
            {"T": dtype},
            role="gradient",
            replaces=gradient.tensor,
        )
        editor.redirect(gradient.tensor, masked, readers)


def _led_in_mask(
    editor: GraphEditor, writer: Writer, gradient: GradientMask, done: Masked
) -> TensorRef:
    """The mask where the gradient is: inside the branch that the kernel is read in."""
    mask = done.mask.value
    if not gradient.path or gradient.read is None:
        return mask
    return _lead_in(editor, writer, gradient.path, gradient.read, mask, done.views, "mask_in")


def _float_of(editor: GraphEditor, mask: TensorRef, default: DType) -> DType:
    """The type of a mask seen through views."""
    node = editor[mask.node]
    dtype = node.attrs.get("DstT", node.attrs.get("T", default))
    return dtype.base if isinstance(dtype, DType) else default


def _through(
    editor: GraphEditor,
    writer: Writer,
    view: TensorRef,
    mask: TensorRef,
    roots: dict[TensorRef, TensorRef],
    done: dict[str, TensorRef],
) -> TensorRef:
    """The mask as ``view`` shows the kernel."""
    key = f"mask of {view.node}"
    if key in done:
        return TensorRef(done[key].node, view.index)
    node = editor.graph[view.node]
    if node.op in JOINS:
        inputs = (*(roots[ref] for ref in node.inputs[:-1]), node.inputs[-1])
    else:
        inputs = (mask, *node.inputs[1:])
    attrs = {k: v for k, v in node.attrs.items() if k != "_class"}
    done[key] = writer.add(
        node.op, "mask", inputs, attrs, waits=node.control_inputs, role="mask-view"
    )
    return TensorRef(done[key].node, view.index)


def _saved(saver: SaverPlan, done: dict[str, Masked], step: AddedVariable | None) -> list[Saved]:
    slices = dict(saver.slices)
    added: list[Saved] = []
    for name in saver.kernels:
        item = done[name]
        part = slices.get(name, b"")
        key = item.mask.variable
        if part:
            key = key.removesuffix(item.plan.part)
        added.append(Saved(key, part, item.mask))
        rest = item.variables()[1:]
        added.extend(Saved(variable.variable, b"", variable) for variable in rest)
    if step is not None and saver.holds_step:
        added.append(Saved(step.variable, b"", step))
    return added


def _extend(editor: GraphEditor, saver: SaverPlan, added: Sequence[Saved]) -> None:
    if saver.save is not None:
        extend_save(editor, saver.save, added)
    elif saver.restore is not None:
        add_restore(editor, saver.restore, saver.restore_group, added)


def _initialize(
    editor: GraphEditor, plan: MaskPlan, done: dict[str, Masked], step: AddedVariable | None
) -> None:
    for kernel, group in plan.initializers:
        item = done[kernel]
        more = [variable.assign for variable in item.variables()]
        if step is not None:
            more.append(step.assign)
        editor.add_controls(group, more)
