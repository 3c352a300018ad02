"""Why a loop has no gradient loop that values could be computed again in."""

from __future__ import annotations

from graphrev.analysis.frames_gradients import ControlFlow
from graphrev.pipeline import Code, Rejection


def no_gradient_loop(
    flow: ControlFlow, number: int, subject: str, nodes: tuple[str, ...]
) -> Rejection:
    """The rejection of ``subject`` in frame ``number``, which no known loop differentiates.

    Args:
        subject: what is left alone, to start a sentence with.
        nodes: its nodes.
    """
    broken = number in flow.frames.broken
    for fault in flow.faults:
        about = {flow.frames.frame(name) for name in fault.nodes}
        if number in about or broken:
            return Rejection(Code.CROSSES_FRAME, fault.reason, (*nodes[:1], *fault.nodes))
    reason = f"{subject} lies in a loop, and no gradient loop pops its values."
    return Rejection(Code.CROSSES_FRAME, reason, nodes)
