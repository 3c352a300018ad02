"""Restores masks from a checkpoint that may hold none: a dense one leaves every mask at 1.

``RestoreV2`` fails where a name is missing, and no op tells which names there are. But the index of
a checkpoint (``PREFIX.index``, a table with plain keys: core/util/tensor_bundle) spells every name,
short of the beginning it shares with the name before it. Whether it spells the variable that every
masked graph has, ``last_mask_update_step``, is asked in the graph, and what is restored or set to
its initial value is decided by a v1 ``Switch``. A checkpoint without an index (the older format) is
taken to hold masks.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphrev.editor import GraphEditor
from graphrev.io import constants
from graphrev.ir import DType, TensorRef
from graphrev.passes.mask.nodes import Writer, assign
from graphrev.passes.mask.saving import Saved

LAST_UPDATE = "last_mask_update_step"
_PATTERN = rf"(?s)\C*{LAST_UPDATE}\C*"


def add_restore(
    editor: GraphEditor, restore: str, group: str | None, added: Sequence[Saved]
) -> None:
    """Adds the restoring of ``added`` beside an existing restore op.

    Args:
        restore: the op; it says where the checkpoint is.
        group: what waits for everything that is restored.
    """
    node = editor[restore]
    scope = f"{restore.rpartition('/')[0]}/masks/".lstrip("/")
    writer = Writer(editor, scope, device=node.device)
    prefix = node.inputs[0]
    held = _holds_masks(writer, prefix)
    there = writer.add("Switch", "prefix", (prefix, held), {"T": DType.STRING})
    names = writer.constant(constants.strings(item.key.encode() for item in added), "names")
    slices = writer.constant(constants.strings(item.part for item in added), "slices")
    dtypes = tuple(item.variable.dtype for item in added)
    values = writer.add(
        "RestoreV2",
        "RestoreV2",
        (TensorRef(there.node, 1), names, slices),
        {"dtypes": dtypes},
    )
    starts: dict[tuple[str, bytes], TensorRef] = {}
    assigns = [
        _assign(editor, writer, item, TensorRef(values.node, place), held, starts)
        for place, item in enumerate(added)
    ]
    if group is not None:
        editor.add_controls(group, assigns)


def _holds_masks(writer: Writer, prefix: TensorRef) -> TensorRef:
    """Whether the checkpoint at ``prefix`` holds masks, a bool scalar."""
    text, flag = DType.STRING, DType.BOOL
    ending = writer.constant(constants.string(b".index"), "ending")
    path = writer.add("StringJoin", "index", (prefix, ending), {"N": 2, "separator": b""})
    found = writer.add("MatchingFiles", "found", (path,), {})
    count = writer.add("Size", "Size", (found,), {"T": text, "out_type": DType.INT32})
    has_index = writer.compare("Greater", count, writer.scalar(DType.INT32, 0), DType.INT32)
    indexed = writer.add("Switch", "indexed", (path, has_index), {"T": text})
    content = writer.add("ReadFile", "ReadFile", (TensorRef(indexed.node, 1),), {})
    pattern = writer.constant(constants.string(_PATTERN.encode()), "pattern")
    spelled = writer.add("RegexFullMatch", "spelled", (content, pattern), {})
    older = writer.add("Switch", "older", (has_index, has_index), {"T": flag})
    assumed = writer.add("LogicalNot", "assumed", (older,), {})
    return writer.add("Merge", "held", (spelled, assumed), {"T": flag, "N": 2})


def _assign(
    editor: GraphEditor,
    writer: Writer,
    item: Saved,
    value: TensorRef,
    held: TensorRef,
    starts: dict[tuple[str, bytes], TensorRef],
) -> str:
    """Adds the assignment of one variable.

    Args:
        starts: initial values behind the switch, by device and content; equal scalars share one.
    """
    variable = item.variable
    device, dtype = editor[variable.variable].device, variable.dtype
    beside = Writer(editor, writer.scope, device=device, place=variable.variable)
    start = editor[variable.initial.node].tensor_attr("value")
    key = (device, start.raw)
    initial = starts.get(key)
    if initial is None:
        owner = Writer(editor, writer.scope, device=device) if not start.shape.dims else beside
        initial = owner.add("Switch", "initial", (variable.initial, held), {"T": dtype})
        if not start.shape.dims:
            starts[key] = initial
    either = beside.add("Merge", "value", (value, initial), {"T": dtype, "N": 2})
    return assign(beside, variable.variable, either, dtype, is_resource=variable.is_resource)
