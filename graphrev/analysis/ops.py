"""What an op is (stateful, random, a variable, an alias, a gradient) and what it puts out.

Everything is decided by the op's *type*, never by a node's name. An op that neither TensorFlow 1.15
nor 2.21 knows is taken for stateful and opaque.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from graphrev.analysis.op_table import Argument, OpFacts, lookup
from graphrev.ir import AttrValue, DType, Node

__all__ = [
    "OpFacts",
    "adds_to_variable",
    "input_count",
    "is_aliasing",
    "is_assignment",
    "is_constant",
    "is_control_flow_v1",
    "is_gradient_op",
    "is_optimizer_apply",
    "is_placeholder",
    "is_random",
    "is_stateful",
    "is_variable",
    "is_variable_read",
    "known_to_tf1",
    "lookup",
    "may_forward_buffer",
    "mutates_ref_input",
    "output_count",
    "output_dtype",
    "output_ranges",
    "stateless_twin",
]

_VARIABLES = frozenset(
    {"Variable", "VariableV2", "TemporaryVariable", "VarHandleOp", "AutoReloadVariable"}
)
_ASSIGNMENTS = frozenset({"Assign", "AssignVariableOp"})
_ADDITIONS = frozenset({"AssignAdd", "AssignAddVariableOp", "AssignSub", "AssignSubVariableOp"})
_READS = frozenset({"ReadVariableOp", "ResourceGather", "ResourceGatherNd", "_ReadVariablesOp"})
_PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})
_CONTROL_FLOW_V1 = frozenset(
    prefix + op
    for op in ("Enter", "Exit", "Switch", "Merge", "NextIteration")
    for prefix in ("", "Ref")
) | {"LoopCond"}
_RANDOM = frozenset(
    {
        "Multinomial",
        "ParameterizedTruncatedNormal",
        "RandomCrop",
        "RandomGamma",
        "RandomPoisson",
        "RandomPoissonV2",
        "RandomShuffle",
        "RandomStandardNormal",
        "RandomUniform",
        "RandomUniformInt",
        "RiscRandomUniform",
        "StatefulRandomBinomial",
        "StatefulStandardNormal",
        "StatefulStandardNormalV2",
        "StatefulTruncatedNormal",
        "StatefulUniform",
        "StatefulUniformFullInt",
        "StatefulUniformInt",
        "TruncatedNormal",
        "LogUniformCandidateSampler",
        "UniformCandidateSampler",
        "LearnedUnigramCandidateSampler",
        "ThreadUnsafeUnigramCandidateSampler",
        "FixedUnigramCandidateSampler",
        "AllCandidateSampler",
        "FractionalMaxPool",
        "FractionalAvgPool",
        "SampleDistortedBoundingBox",
        "SampleDistortedBoundingBoxV2",
    }
)
_STATELESS_TWINS = {
    "RandomUniform": "StatelessRandomUniform",
    "RandomStandardNormal": "StatelessRandomNormal",
    "TruncatedNormal": "StatelessTruncatedNormal",
}
_ALIASES = frozenset(
    {
        "Identity",
        "IdentityN",
        "RefIdentity",
        "Reshape",
        "Squeeze",
        "ExpandDims",
        "StopGradient",
        "PreventGradient",
        "Snapshot",
        "Bitcast",
        "PlaceholderWithDefault",
        "CheckNumerics",
        "EnsureShape",
    }
    | _CONTROL_FLOW_V1
)
"""Output 0 may share the buffer of input 0 (IdentityN, Switch and Merge: of some input)."""

_FORWARDING = frozenset(
    (
        "Abs Acos Acosh Add AddN AddV2 Asin Asinh Atan Atan2 Atanh BiasAdd Ceil Cos Cosh Div "
        "DivNoNan Elu EluGrad Erf Erfc Exp Expm1 Floor FloorDiv FloorMod Inv InvGrad LeakyRelu "
        "LeakyReluGrad Lgamma Log Log1p LogicalAnd LogicalNot LogicalOr Maximum Minimum Mod Mul "
        "MulNoNan Neg OnesLike Pow RealDiv Reciprocal ReciprocalGrad Relu Relu6 Relu6Grad "
        "ReluGrad Rint Round Rsqrt RsqrtGrad Selu SeluGrad Sigmoid SigmoidGrad Sign Sin Sinh "
        "Softmax Softplus SoftplusGrad Softsign SoftsignGrad Sqrt SqrtGrad Square "
        "SquaredDifference Sub Tan Tanh TanhGrad TruncateDiv TruncateMod Xdivy Xlogy ZerosLike "
        "ClipByValue"
    ).split()
)
"""The output may take over an input's buffer that nobody else reads (OpKernelContext,
``forward_input_or_allocate_output``)."""

_KEEPS_REFERENCE = frozenset(
    {
        "IsVariableInitialized",
        "RefEnter",
        "RefExit",
        "RefIdentity",
        "RefMerge",
        "RefNextIteration",
        "RefSelect",
        "RefSwitch",
        "DebugGradientRefIdentity",
    }
)
_SHARED_WITH_FORWARD = frozenset(
    {
        "Conv2DBackpropInput",
        "Conv2DBackpropInputV2",
        "Conv3DBackpropInput",
        "Conv3DBackpropInputV2",
        "DepthwiseConv2dNativeBackpropInput",
        "DebugGradientIdentity",
        "DebugGradientRefIdentity",
        "StopGradient",
        "PreventGradient",
        "SymbolicGradient",
        "CholeskyGrad",
    }
)
"""Forward code builds these too: a transposed convolution is Conv2DBackpropInput."""

_GRADIENT = re.compile(
    r"(?!Accumulator|Apply|Resource|SparseA(?:pply|ccumulator)|Load|Retrieve|Send|Xla|TensorArray)"
    r"\w*(?:Grad(?:V\d+|WithArgmax|Boxes|Image|A|Grad\w*)?|Gradient(?:Args)?"
    r"|Backprop(?:Filter|Input)?(?:V\d+)?)"
)
_OPTIMIZER = re.compile(r"(?:Resource)?(?:Sparse)?Apply[A-Z]\w*")


def is_stateful(op: str) -> bool:
    """Whether running the op twice differs from running it once, as far as can be known."""
    facts = lookup(op)
    return True if facts is None else facts.stateful or bool(mutates_ref_input(op))


def is_random(op: str) -> bool:
    """Whether the op draws other numbers each time it runs."""
    return op in _RANDOM


def stateless_twin(op: str) -> str | None:
    """The op that draws the same kind of numbers from a seed; ``None`` where TF 1.15 has none."""
    return _STATELESS_TWINS.get(op)


def is_variable(op: str) -> bool:
    """Whether the op holds a variable (a reference's buffer or a resource's handle)."""
    return op in _VARIABLES


def is_assignment(op: str) -> bool:
    """Whether the op overwrites a variable with its second input."""
    return op in _ASSIGNMENTS


def adds_to_variable(op: str) -> bool:
    """Whether the op adds its second input to a variable, or takes it off."""
    return op in _ADDITIONS


def is_variable_read(op: str) -> bool:
    """Whether the op reads a resource variable."""
    return op in _READS


def is_placeholder(op: str) -> bool:
    """Whether the op exists to be fed."""
    return op in _PLACEHOLDERS


def is_constant(op: str) -> bool:
    """Whether the op's value is part of the graph."""
    return op in ("Const", "HostConst")


def is_gradient_op(op: str) -> bool:
    """Whether only gradient code creates this op (so not the transposed convolutions)."""
    return op not in _SHARED_WITH_FORWARD and _GRADIENT.fullmatch(op) is not None


def is_optimizer_apply(op: str) -> bool:
    """Whether the op applies an optimizer's step (``ApplyMomentum``, ``ResourceApplyAdam``)."""
    return _OPTIMIZER.fullmatch(op) is not None


def is_aliasing(op: str) -> bool:
    """Whether an output may be the very buffer of an input."""
    return op in _ALIASES


def may_forward_buffer(op: str) -> bool:
    """Whether the output may take over the buffer of an input that has no other reader left."""
    return op in _FORWARDING


def is_control_flow_v1(op: str) -> bool:
    """Whether the op is one of Enter, Exit, Switch, Merge, NextIteration, LoopCond."""
    return op in _CONTROL_FLOW_V1


def mutates_ref_input(op: str) -> tuple[int, ...]:
    """The input positions whose referenced buffer the op writes.

    Reference arguments come before any list argument in every op that writes through them, so an
    argument's place is its input's place.
    """
    facts = lookup(op)
    if facts is None or op in _KEEPS_REFERENCE:
        return ()
    return tuple(place for place, arg in enumerate(facts.inputs) if arg.is_ref)


def known_to_tf1(op: str) -> bool:
    """Whether TensorFlow 1.15 knows the op."""
    facts = lookup(op)
    return facts is not None and facts.in_tf1


def output_count(node: Node) -> int | None:
    """How many outputs the node has; ``None`` for an unknown op or a missing attribute."""
    facts = lookup(node.op)
    if facts is None:
        return None
    total = 0
    for arg in facts.outputs:
        count = _count(arg, facts, node)
        if count is None:
            return None
        total += count
    return total


def input_count(node: Node) -> int | None:
    """How many data inputs the node takes; ``None`` for an unknown op or a missing attribute."""
    facts = lookup(node.op)
    if facts is None:
        return None
    total = 0
    for arg in facts.inputs:
        count = _count(arg, facts, node)
        if count is None:
            return None
        total += count
    return total


def output_ranges(node: Node) -> dict[str, range] | None:
    """For each output port its range of flat output indices; ``None`` where they are not known."""
    facts = lookup(node.op)
    if facts is None:
        return None
    ranges: dict[str, range] = {}
    start = 0
    for arg in facts.outputs:
        count = _count(arg, facts, node)
        if count is None:
            return None
        ranges[arg.name] = range(start, start + count)
        start += count
    return ranges


def output_dtype(node: Node, index: int) -> DType | None:
    """The element type of output ``index``, references included; ``None`` where it is not known."""
    facts = lookup(node.op)
    if facts is None:
        return None
    first = facts.outputs[0] if facts.outputs else None
    if index == 0 and first is not None and not (first.list_attr or first.number_attr):
        return _dtype(first, facts, node)
    for position, dtype in enumerate(_output_dtypes(facts, node)):
        if position == index:
            return dtype
    return None


def _output_dtypes(facts: OpFacts, node: Node) -> Iterator[DType | None]:
    for arg in facts.outputs:
        if arg.list_attr:
            listed = node.attrs.get(arg.list_attr)
            if not isinstance(listed, tuple):
                return
            yield from (item if isinstance(item, DType) else None for item in listed)
            continue
        count = _count(arg, facts, node)
        if count is None:
            return
        for _ in range(count):
            yield _dtype(arg, facts, node)


def _dtype(arg: Argument, facts: OpFacts, node: Node) -> DType | None:
    value: AttrValue | None = DType(arg.dtype) if arg.dtype else node.attrs.get(arg.type_attr)
    if value is None and arg.type_attr in facts.defaults:
        value = DType(facts.defaults[arg.type_attr])
    if not isinstance(value, DType):
        return None
    return DType(value + 100) if arg.is_ref and not value.is_ref else value


_MOST_OUTPUTS = 1_000_000
"""More is a damaged attribute: believed, a few bytes would take all memory."""


def _count(arg: Argument, facts: OpFacts, node: Node) -> int | None:
    if arg.list_attr:
        listed = node.attrs.get(arg.list_attr)
        return len(listed) if isinstance(listed, tuple) else None
    if not arg.number_attr:
        return 1
    number = node.attrs.get(arg.number_attr, facts.defaults.get(arg.number_attr))
    return number if isinstance(number, int) and 0 <= number <= _MOST_OUTPUTS else None
