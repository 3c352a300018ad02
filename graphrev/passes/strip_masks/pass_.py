"""The strip-masks pass: a trained, masked graph without its masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphrev.editor import GraphEditor
from graphrev.io import constants
from graphrev.ir import Graph
from graphrev.ir.marks import COLLECTIONS_ATTR, KERNELS, collections_of, kernel_of, role_of
from graphrev.passes.strip_masks import marked
from graphrev.passes.strip_masks.frozen import find_folds, hands_on, unread
from graphrev.passes.strip_masks.plan import Fold, Shrink, StripPlan
from graphrev.pipeline import Code, Pass, Rejection

_SHAPES_ATTR = "_output_shapes"
"""What TensorFlow writes beside a node when it exports a MetaGraphDef."""
_SHAPES = frozenset({"Shape", "ShapeN", "Size", "Rank"})
"""What reads no values, so that it may read the kernel with or without its mask."""


@dataclass(frozen=True)
class StripMasks(Pass[StripPlan]):
    """Replaces ``mask * kernel`` by the kernel and removes everything that served the mask.

    In a frozen graph the kernel's constant takes the value of the product, so that the outputs are
    bit for bit those of the masked graph. In a graph with variables the kernel is read raw again:
    convert the checkpoint with ``graphrev checkpoint`` so that it holds ``w * mask``.
    """

    name: ClassVar[str] = "strip-masks"

    def analyze(self, graph: Graph) -> StripPlan:
        """Finds folded products and recorded masks."""
        folds, shared = _separate(graph, tuple(find_folds(graph)))
        added = marked.added_nodes(graph)
        gone = frozenset(unread(graph, folds)) | added
        blocked = marked.unexplained(graph, gone, frozenset(fold.product for fold in folds))
        if blocked is not None:
            name, reader = blocked
            reason = f"'{reader}' reads '{name}' of a mask, and what it read before is not known."
            return StripPlan((*shared, Rejection(Code.MASK_ALTERED, reason, (name, reader))))
        masked = {kernel_of(graph[n]) or "" for n in added if role_of(graph[n]) == "masked_weight"}
        masked |= {fold.kernel for fold in folds}
        folded = {fold.product for fold in folds}
        return StripPlan(
            shared,
            folds,
            tuple(pair for pair in marked.undone(graph, added) if pair[0].node not in folded),
            tuple(marked.released(graph, gone)),
            tuple(marked.shrunk(graph, added)),
            tuple(marked.unlisted(graph, gone)),
            marked.readers_first(graph, gone),
            tuple(sorted(masked)),
        )

    def apply(self, plan: StripPlan, editor: GraphEditor) -> None:
        """Makes the edits of ``plan``."""
        with editor.because("masks", "the kernel is read without its mask"):
            for fold in plan.folds:
                editor.set_attr(fold.kernel, "value", fold.value)
                for tensor in sorted(
                    {
                        ref
                        for n in editor.readers(fold.product)
                        for ref in editor[n].inputs
                        if ref.node == fold.product
                    }
                ):
                    editor.redirect(tensor, fold.source, tuple(editor.readers(fold.product)))
            for tensor, origin in plan.undone:
                editor.redirect(tensor, origin, tuple(editor.readers(tensor.node)))
        with editor.because("masks", "what served the masks is removed"):
            for name, waits in plan.released:
                editor.set_controls(name, waits)
            for shrink in plan.shrunk:
                _shrink(editor, shrink)
            for name in plan.unlisted:
                kept = tuple(n.encode() for n in collections_of(editor[name]) if n != KERNELS)
                editor.set_attr(name, COLLECTIONS_ATTR, kept or None)
            for name in plan.removed:
                editor.remove(name)


def _separate(
    graph: Graph, folds: tuple[Fold, ...]
) -> tuple[tuple[Fold, ...], tuple[Rejection, ...]]:
    """Folds whose kernel nothing else reads; the others would change what is read elsewhere."""
    products = {fold.product for fold in folds}
    kept: list[Fold] = []
    rejections: list[Rejection] = []
    for fold in folds:
        stranger = _stranger(graph, fold.kernel, products)
        if stranger is None:
            kept.append(fold)
            continue
        reason = f"Kernel '{fold.kernel}' is read without its mask by '{stranger}'."
        rejections.append(Rejection(Code.MASK_ALTERED, reason, (fold.kernel, stranger)))
    return tuple(kept), tuple(rejections)


def _stranger(graph: Graph, kernel: str, products: set[str]) -> str | None:
    pending = [kernel]
    while pending:
        for reader in graph.readers.get(pending.pop(), ()):
            if hands_on(graph[reader]):
                pending.append(reader)
            elif reader not in products and graph[reader].op not in _SHAPES:
                return reader
    return None


def _shrink(editor: GraphEditor, shrink: Shrink) -> None:
    name = shrink.node
    for position in (1, 2):
        source = editor[name].inputs[position].node
        value = editor[source].tensor_attr("value")
        shorter = constants.truncated(value, shrink.kept)
        editor.set_attr(source, "value", shorter)
        if _SHAPES_ATTR in editor[source].attrs:
            editor.set_attr(source, _SHAPES_ATTR, (shorter.shape,))
    attr = marked.SAVES[editor[name].op]
    dtypes = editor[name].attr(attr)
    assert isinstance(dtypes, tuple)
    editor.set_attr(name, attr, dtypes[: shrink.kept])
    for _ in range(shrink.dropped):
        editor.drop_input(name)
