"""Constants that products multiply by become variables again, with the constant as initial value.

A variable takes the constant's name, so that the checkpoints of the program the graph was frozen
from fit it; freezing once more gives the same constants. A frozen graph counts no steps: a global
step comes with the variables, for the schedule and for ``minimize``.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphrev.editor import GraphEditor
from graphrev.io import constants
from graphrev.ir import AttrValue, DType, Graph, Node, TensorRef, TensorValue
from graphrev.ir.marks import ROLE_ATTR, UNFROZEN, is_opted_out
from graphrev.passes.mask.nodes import Writer, add_variable
from graphrev.passes.mask.plan import Thaw
from graphrev.passes.mask.roles import VIEWS, kernel_positions
from graphrev.passes.mask.training import step_variables

_TRAINED = ("variables", "trainable_variables", "model_variables")
_STEP = "global_step"
_SMALLEST_RANK = 2


def find_constants(graph: Graph) -> Thaw:
    """The floating-point constants that some op multiplies by, in graph order."""
    found: dict[str, None] = {}
    for node in graph.nodes.values():
        sources = [_source(graph, ref.node) for ref in node.inputs]
        for place in kernel_positions(node):
            others = [source for other, source in enumerate(sources) if other != place]
            if _is_kernel(graph[sources[place]]) and not _all_constant(graph, others):
                found[sources[place]] = None
    kept = tuple(name for name in graph.nodes if name in found)
    return Thaw(kept, bool(kept) and not any(step_variables(graph, graph.nodes)))


def _source(graph: Graph, name: str) -> str:
    while graph[name].op in VIEWS and graph[name].inputs:
        name = graph[name].inputs[0].node
    return name


def _all_constant(graph: Graph, names: list[str]) -> bool:
    return all(graph[name].op == "Const" for name in names)


def _is_kernel(node: Node) -> bool:
    value = node.attrs.get("value")
    return (
        node.op == "Const"
        and isinstance(value, TensorValue)
        and value.dtype.is_floating
        and len(value.shape.dims or ()) >= _SMALLEST_RANK
        and not node.control_inputs
        and not is_opted_out(node)
    )


def thaw(editor: GraphEditor, plan: Thaw) -> None:
    """Makes the edits of ``plan``."""
    assigns: list[str] = []
    for name in plan.constants:
        with editor.because(name, "the constant is a variable again"):
            assigns.append(_thaw_one(editor, name))
    if plan.adds_step:
        with editor.because(_STEP, "count training steps"):
            step = add_variable(
                Writer(editor, "", "", marked=False),
                _STEP,
                constants.splat(DType.INT64, 0),
                is_resource=False,
                role="",
                collections=("variables", _STEP),
            )
            assigns.append(step.assign)
    with editor.because("init", "initialize the variables"):
        Writer(editor, "", "", marked=False).add("NoOp", "init", (), {}, waits=assigns)


def _thaw_one(editor: GraphEditor, name: str) -> str:
    """Returns the variable's initializer."""
    constant = editor[name]
    value = constant.tensor_attr("value")
    beside = Writer(editor, "", "", constant.device, marked=False)
    start = beside.add("Const", f"{name}/Initializer/value", (), constant.attrs)
    readers = tuple(editor.readers(name))
    editor.redirect(TensorRef(name), start, readers)
    for reader in readers:
        waits = editor[reader].control_inputs
        editor.set_controls(reader, tuple(start.node if w == name else w for w in waits))
    editor.remove(name)
    shape: Mapping[str, AttrValue] = {
        "dtype": value.dtype,
        "shape": value.shape,
        "container": b"",
        "shared_name": b"",
    }
    variable = beside.add("VariableV2", name, (), shape, collections=_TRAINED)
    beside.place = name
    _read_variable(editor, beside, variable, start, value.dtype)
    return beside.add(
        "Assign",
        f"{name}/Assign",
        (variable, start),
        {"T": value.dtype, "use_locking": True, "validate_shape": True},
    ).node


def _read_variable(
    editor: GraphEditor, writer: Writer, variable: TensorRef, start: TensorRef, dtype: DType
) -> None:
    """Lets every reader of the constant read the variable, through an Identity."""
    read: TensorRef | None = None
    for reader in tuple(editor.readers(start.node)):
        if start not in editor[reader].inputs:
            continue
        if editor[reader].op == "Identity":
            editor.set_input(reader, 0, variable)
            continue
        if read is None:
            attrs: Mapping[str, AttrValue] = {"T": dtype, ROLE_ATTR: UNFROZEN}
            read = writer.add("Identity", f"{variable.node}/read", (variable,), attrs)
        editor.redirect(start, read, (reader,))
