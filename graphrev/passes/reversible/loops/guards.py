"""Keeps updates of reference variables behind the gradient loop that computes from their buffers.

See :mod:`graphrev.recomputation.guards`. Copies inside a loop cannot be waited for from outside;
the Exit of what the loop rebuilds can, and it comes after the copies of every iteration.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphrev.editor import GraphEditor
from graphrev.passes.reversible.uses import Candidate
from graphrev.pipeline import Code, Rejection
from graphrev.recomputation.guards import buffer_owner, later_updates
from graphrev.recomputation.loops.body import Body
from graphrev.recomputation.snapshots import Snapshots, overwritten


def wait_for_exits(
    body: Body,
    item: Candidate,
    exits: Sequence[str],
    snapshots: Snapshots,
    editor: GraphEditor,
) -> Rejection | None:
    """Makes late updates of what the block reads wait for ``exits``, or says why none can."""
    around = body.around
    last = item.chain.halves[-1].y.node
    owners = dict.fromkeys(
        buffer_owner(around, ref) for region in item.regions for ref in region.captures
    )
    for owner in owners:
        if owner is None:
            continue
        for update in later_updates(around, owner, last):
            if not exits or not _at_top(body, update):
                reason = f"'{update}' writes '{owner}', which the loop of the block reads."
                return Rejection(Code.VARIABLE_CHANGES, reason, (update, owner, last))
            editor.add_controls(update, exits)
    names = [name for region in item.regions for name in region.nodes]
    return overwritten(snapshots, names, f"the loop of '{last}'")


def _at_top(body: Body, update: str) -> bool:
    """Whether neither the update nor the loop lies in control flow."""
    left = body.pair.countdown.exits or body.pair.count.exits
    around = (body.contexts.get(name) for name in (update, *left))
    return body.pair.outer is None and bool(left) and not any(around)
