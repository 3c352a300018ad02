"""A refusal, as data: why a near miss is left alone, and on which nodes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Code(str, Enum):
    """Every reason a pass may give for leaving something alone.

    The value is what programs see (``--json``); :data:`EXPLANATIONS` says what each means and
    what to do, and the page ``docs/rejections.md`` is generated from it.
    """

    READS_OWN_INPUT = "reads_own_input"
    SHAPE_CHANGES = "shape_changes"
    SHAPE_UNKNOWN = "shape_unknown"
    DTYPE = "dtype"
    STATEFUL_OP = "stateful_op"
    RANDOM_OP = "random_op"
    FED = "fed"
    FETCHED = "fetched"
    COMPARED = "compared"
    NO_BACKWARD_READERS = "no_backward_readers"
    ALREADY_REWRITTEN = "already_rewritten"
    OVERLAP = "overlap"
    CROSSES_FRAME = "crosses_frame"
    FUNCTION_BROKEN = "function_broken"
    OPTED_OUT = "opted_out"
    INCOMPLETE_MARK = "incomplete_mark"
    NOT_A_PAIR = "not_a_pair"
    TRIGGER_CYCLE = "trigger_cycle"
    VARIABLE_CHANGES = "variable_changes"
    DRIFT = "drift"
    REGION_TOO_LARGE = "region_too_large"
    UNKNOWN_OP = "unknown_op"
    KERNEL_IS_CONSTANT = "kernel_is_constant"
    KERNEL_IS_COMPUTED = "kernel_is_computed"
    KERNEL_SHAPE_UNKNOWN = "kernel_shape_unknown"
    KERNEL_TOO_SMALL = "kernel_too_small"
    KERNEL_TOO_LARGE = "kernel_too_large"
    KERNEL_SHARED = "kernel_shared"
    KEPT_DENSE = "kept_dense"
    NOT_SELECTED = "not_selected"
    NOT_TRAINED = "not_trained"
    GRADIENT_UNCLEAR = "gradient_unclear"
    MASK_ALTERED = "mask_altered"
    CHANNELS_FED = "channels_fed"
    CHANNELS_FETCHED = "channels_fetched"
    CHANNELS_OPAQUE = "channels_opaque"
    CHANNELS_MIXED = "channels_mixed"
    CHANNELS_COUPLED = "channels_coupled"
    CHANNELS_KEPT = "channels_kept"
    NORM_KEPT = "norm_kept"
    NO_GRADIENT = "no_gradient"
    NO_BATCH_NORM = "no_batch_norm"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a code means, in a sentence, and what a user can do about it."""

    meaning: str
    remedy: str


EXPLANATIONS: dict[Code, Explanation] = {
    Code.READS_OWN_INPUT: Explanation(
        "The function added to a stream also reads that stream, so the stream cannot be "
        "recovered from the sum by subtraction.",
        "Make f read only the other stream, or use the recompute pass.",
    ),
    Code.SHAPE_CHANGES: Explanation(
        "The sum has another shape than the stream it is added to (broadcasting), so the stream "
        "cannot be recovered by subtraction.",
        "Let f return the shape of its stream; downsample between blocks.",
    ),
    Code.SHAPE_UNKNOWN: Explanation(
        "It cannot be shown that the stream and the sum have the same shape.",
        "Give the feed shapes (--feed NAME=SHAPE), or save the graph with _output_shapes.",
    ),
    Code.DTYPE: Explanation(
        "The stream is not a floating-point tensor.",
        "Nothing to do: only float16, bfloat16, float32 and float64 streams carry gradients.",
    ),
    Code.STATEFUL_OP: Explanation(
        "An op with state or side effects would have to run a second time.",
        "Move it out of f and g, or pass its result in as a side input.",
    ),
    Code.RANDOM_OP: Explanation(
        "A random op cannot be made stateless: no stateless twin of its kind exists in TF 1.15.",
        "Use random=save, which keeps the random tensor.",
    ),
    Code.FED: Explanation(
        "A tensor inside the block is fed by name; a recomputed copy would not see the feed.",
        "Feed the block's inputs instead, or leave the block alone.",
    ),
    Code.FETCHED: Explanation(
        "A stream is fetched by name, which keeps it in memory; recomputing it saves nothing.",
        "Fetch it in an evaluation graph, or drop it from the signature.",
    ),
    Code.COMPARED: Explanation(
        "A stream's exact value is compared in the backward pass (the gradient of a ReLU or of max "
        "pooling right before the block); rebuilt, a zero would not be one.",
        "Nothing to do: that one stream is kept, the rest of the block is rewritten. To free it "
        "too, let the block begin with a sum or a convolution.",
    ),
    Code.NO_BACKWARD_READERS: Explanation(
        "Nothing in a backward pass reads the block: the graph holds no gradients of it.",
        "Differentiate first, or rewrite before differentiation.",
    ),
    Code.ALREADY_REWRITTEN: Explanation(
        "The backward pass already reads recomputed values.",
        "Nothing to do: a pass that runs twice changes nothing the second time.",
    ),
    Code.OVERLAP: Explanation(
        "Another pair claims some of the same nodes and was preferred.",
        "Mark the pairs so that they do not share nodes.",
    ),
    Code.CROSSES_FRAME: Explanation(
        "The block lies in a cond branch, in a loop whose gradient loop is not known, or reaches "
        "across the border of one.",
        "Differentiate first; in branches nothing is done in this version, the block is left "
        "exact.",
    ),
    Code.FUNCTION_BROKEN: Explanation(
        "A function that the graph calls is missing from its library, or calls itself.",
        "Save the graph with its whole library; nothing that calls such a function is changed.",
    ),
    Code.OPTED_OUT: Explanation(
        "The nodes were built under no_rewrite().",
        "Remove no_rewrite() if the block should be rewritten.",
    ),
    Code.INCOMPLETE_MARK: Explanation(
        "The marks of a pair do not name x1, x2, y1 and y2 once each.",
        "Mark the pair again with mark_residual_pair(x1, x2, y1, y2).",
    ),
    Code.NOT_A_PAIR: Explanation(
        "The marked tensors do not satisfy y1 = x1 + f(x2), y2 = x2 + g(y1).",
        "Check that each y is an Add, AddV2, AddN of two or Sub of its own x.",
    ),
    Code.TRIGGER_CYCLE: Explanation(
        "Holding the recomputation back until the backward pass needs it would make the graph "
        "wait for itself.",
        "Look for a gradient that is used by the forward pass (second order, control edges).",
    ),
    Code.VARIABLE_CHANGES: Explanation(
        "A reference variable that the block reads is assigned before the recomputation can run.",
        "Use resource variables, whose reads are snapshots.",
    ),
    Code.DRIFT: Explanation(
        "The estimated rounding drift exceeds max_drift even with every pair saved that helps.",
        "Raise max_drift, or compute the streams in a wider type.",
    ),
    Code.REGION_TOO_LARGE: Explanation(
        "The search for the pair was given up: too many nodes lie between the candidate's ends.",
        "Mark the pair, so that it need not be searched for.",
    ),
    Code.UNKNOWN_OP: Explanation(
        "An op that neither TensorFlow 1.15 nor 2.21 knows would have to be copied.",
        "Nothing to do: an unknown op is treated as stateful and opaque.",
    ),
    Code.KERNEL_IS_CONSTANT: Explanation(
        "The kernel is a constant: the graph is frozen, so there is no variable to mask.",
        "Use mask{unfreeze=true}, which makes it a variable again.",
    ),
    Code.KERNEL_IS_COMPUTED: Explanation(
        "What is multiplied by is computed from other tensors and is no view of a variable.",
        "Mask the variables it is computed from in the program, or leave it dense.",
    ),
    Code.KERNEL_SHAPE_UNKNOWN: Explanation(
        "The variable's shape is not fully known, so the number of weights to drop is not either.",
        "Give the variable a full static shape.",
    ),
    Code.KERNEL_TOO_SMALL: Explanation(
        "The kernel has fewer weights than min_size.",
        "Lower min_size.",
    ),
    Code.KERNEL_TOO_LARGE: Explanation(
        "The kernel has 2,147,483,648 weights or more; which are dropped is counted in 32 bits.",
        "Split the variable into partitions, or leave it dense.",
    ),
    Code.KERNEL_SHARED: Explanation(
        "The variable is also read in a way that no mask can follow: looked up row by row, "
        "multiplied by itself, multiplied by in a changed form (scaled, normalized), passed into a "
        "function, or joined with what is not masked.",
        "Exclude it, or mask it in the program.",
    ),
    Code.KEPT_DENSE: Explanation(
        "The first and the last kernel are kept dense: pruning them costs the most accuracy.",
        "Use first=masked or last=masked to mask them too.",
    ),
    Code.NOT_SELECTED: Explanation(
        "The options or the marks leave this kernel out.",
        "Change include or exclude, or build the kernel under prunable().",
    ),
    Code.NOT_TRAINED: Explanation(
        "The graph trains other variables but nothing updates this one.",
        "Name it in include to mask it all the same.",
    ),
    Code.GRADIENT_UNCLEAR: Explanation(
        "The graph holds gradients, and which of them belongs to this kernel cannot be proven.",
        "Mask the graph before it is differentiated, or exclude the kernel.",
    ),
    Code.MASK_ALTERED: Explanation(
        "Something reads the mask or the raw kernel in a way that stripping would change.",
        "Remove that reader, or extract the subgraph of the outputs first.",
    ),
    Code.NO_GRADIENT: Explanation(
        "The criterion or the regrowth policy needs the kernel's gradient in each training step, "
        "and none is found that can be read in the kernel's shape.",
        "Rewrite the graph after it was differentiated, or use criterion=magnitude and "
        "regrowth=none for this kernel.",
    ),
    Code.NO_BATCH_NORM: Explanation(
        "The criterion ranks filters by the scale of the batch norm behind them, and this kernel "
        "has none.",
        "Exclude the kernel, or use criterion=magnitude for it.",
    ),
    Code.CHANNELS_FED: Explanation(
        "The channels are all zero, but they come from outside: a feed, or a tensor that no kernel "
        "makes.",
        "Nothing to do: removing them would change what the graph is fed.",
    ),
    Code.CHANNELS_FETCHED: Explanation(
        "The channels are all zero, but they are a result of the graph.",
        "Keep the layer that makes the results dense, or extract the part that you fetch.",
    ),
    Code.CHANNELS_OPAQUE: Explanation(
        "An op reads the channels of which it is not known that it works on each by itself, or "
        "that combines them with something of a fixed size.",
        "Look at the op that is named; strip masks (strip-masks) and extract the inference graph "
        "first: gradients, summaries and unfrozen control flow need all channels.",
    ),
    Code.CHANNELS_MIXED: Explanation(
        "A reshape, a window, a reduction or a computed size mixes the channels with other axes.",
        "Give the graph static shapes, or flatten with constant sizes.",
    ),
    Code.CHANNELS_COUPLED: Explanation(
        "The channels are zero here, but the same channels (joined by a residual sum, for "
        "instance) hold something that is used.",
        "Mask with granularity=channel, which drops coupled channels together.",
    ),
    Code.CHANNELS_KEPT: Explanation(
        "The channels could go and stay all the same: as the last of their layer, to round the "
        "number up, or to carry the constants of removed ones through a border.",
        "Nothing to do; a smaller multiple removes more.",
    ),
    Code.NORM_KEPT: Explanation(
        "The batch norm was to be folded into its convolution, but one of them is fed, fetched or "
        "read elsewhere too, shares its parameters, or has some that are no float32 constants.",
        "Freeze the graph; let nothing read what is between the two.",
    ),
}


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why something was left alone.

    Attributes:
        code: the documented reason.
        reason: one sentence about this case.
        nodes: the nodes it is about, most telling first.
    """

    code: Code
    reason: str
    nodes: tuple[str, ...] = ()
