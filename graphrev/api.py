"""The functions people call: load, save, analyze, rewrite, verify, diff."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeAlias, Union, cast

from graphrev import verification
from graphrev.analysis import ops
from graphrev.analysis.feeds import check_feeds
from graphrev.collection import paused_collection
from graphrev.diff import GraphDiff, compare
from graphrev.edits import EditLog
from graphrev.errors import InvalidInputError, UsageError, printable
from graphrev.io import Format, Model, decode, encode_graph, files
from graphrev.io.protos import tensorflow_core
from graphrev.io.wire import WireError
from graphrev.ir import Graph, Shape
from graphrev.ir import verify as structure
from graphrev.passes import REGISTRY
from graphrev.pipeline import Pass, run
from graphrev.pipeline.spec import parse_pass
from graphrev.report import Report
from graphrev.verification import Verification

PassLike: TypeAlias = Union[Pass[Any], str]
Passes: TypeAlias = Union[PassLike, Iterable[PassLike]]
FeedShapes: TypeAlias = Mapping[str, Union[Shape, Sequence["int | None"]]]
Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Rewritten:
    """The result of a rewrite.

    Attributes:
        model: the rewritten graph in the envelope of the input.
        report: what was done, and why the rest was left alone.
        edits: the edits in order.
    """

    model: Model
    report: Report
    edits: EditLog

    @property
    def changed(self) -> bool:
        """Whether anything was changed."""
        return bool(self.edits)

    @property
    def graph_def(self) -> Any:
        """The graph as a ``tf.compat.v1.GraphDef`` (imports TensorFlow)."""
        graph_pb2 = tensorflow_core("framework.graph_pb2")
        return graph_pb2.GraphDef.FromString(encode_graph(self.model.graph))

    @property
    def meta_graph_def(self) -> Any:
        """The graph and its collections as a ``tf.compat.v1.MetaGraphDef`` (imports TensorFlow).

        Raises:
            UsageError: the input was a bare graph.
        """
        if self.model.envelope is None:
            raise UsageError(
                f"{self.model.source} was no MetaGraphDef, so there is none to return. Use "
                ".graph_def, or rewrite the .meta file."
            )
        data = self.model.envelope.encode(encode_graph(self.model.graph))
        return tensorflow_core("protobuf.meta_graph_pb2").MetaGraphDef.FromString(data)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Writes the result, whole or not at all.

        Where a pass changed the shapes of variables (``shrink``), their checkpoint is written
        beside: ``small.meta`` gets ``small.index`` and its data. A SavedModel holds its own.

        Args:
            path: ``.pb``, ``.pbtxt``, ``.meta`` or a folder, as the input allows.
            overwrite: whether an existing file may be replaced.

        Raises:
            UsageError: the file exists, or its extension does not fit.
            OutputError: it cannot be written; nothing was half-written.
        """
        values = self.variables
        if values is not None and (self.model.frame is None or Path(path).suffix):
            _save_variables(values, path, overwrite=overwrite)
            values = None
        _save(self.model, path, values, overwrite=overwrite)

    @property
    def variables(self) -> Mapping[str, Any] | None:
        """The variables by their saved names, where a pass changed their shapes."""
        found = [step.plan.checkpoint() for step in self.report.steps if step.edits]
        return next((values for values in reversed(found) if values is not None), None)


def load(path: str | Path) -> Model:
    """Reads a ``.pb``, ``.pbtxt``, ``.meta`` (also ``.gz``) file or a v1 SavedModel folder.

    Raises:
        UsageError: there is no such file, or its extension says nothing.
        InvalidInputError: the content is damaged or of another kind.
        InvalidGraphError: the graph breaks a structural invariant.
    """
    model = files.load(path)
    _checked(model)
    return model


def save(model: Model, path: str | Path, *, overwrite: bool = False) -> None:
    """Writes a model, whole or not at all.

    Raises:
        UsageError: the file exists and ``overwrite`` is not set, or its extension does not fit.
        OutputError: it cannot be written; nothing was half-written.
    """
    _save(model, path, None, overwrite=overwrite)


def _save(
    model: Model, path: str | Path, variables: Mapping[str, Any] | None, *, overwrite: bool
) -> None:
    from graphrev.io.writing import check_target

    files.check_extension(model, path)
    check_target(Path(path), overwrite=overwrite)
    files.save(model, path, variables)


def _save_variables(values: Mapping[str, Any], path: str | Path, *, overwrite: bool) -> None:
    """Writes the checkpoint that belongs to a graph about to be written to ``path``."""
    from graphrev.io import checkpoints
    from graphrev.io.writing import check_target

    target = Path(path)
    prefix = target.with_suffix("")
    for file in (*checkpoints.written_files(prefix, "v2"), target):
        check_target(file, overwrite=overwrite)
    checkpoints.write_checkpoint(prefix, values)


def parse_passes(passes: Passes) -> tuple[Pass[Any], ...]:
    """Passes given as objects, names or specifications (``"reversible{detect=structural}"``).

    Raises:
        UsageError: there is no such pass or option.
    """
    given = list(passes) if isinstance(passes, Iterable) else [passes]
    return tuple(_parse_pass(item) for item in ([passes] if isinstance(passes, str) else given))


def _passes_for(target: Any, passes: Passes) -> tuple[Pass[Any], ...]:
    """The passes; Python objects hold the functions of a live graph, so there these stay."""
    chosen = parse_passes(passes)
    if _is_tf_graph(target):
        chosen = tuple(
            pass_ if getattr(pass_, "functions", "") == "keep" else _told(pass_, functions="copy")
            for pass_ in chosen
        )
    return chosen


def _parse_pass(given: Any) -> Pass[Any]:
    if isinstance(given, str):
        return parse_pass(given, REGISTRY)
    if isinstance(given, Pass):
        return cast(Pass[Any], given)
    raise UsageError(
        f"{printable(repr(given))} is no pass. Give a name, a specification, or a pass object such "
        "as graphrev.passes.Reversible()."
    )


def analyze(
    target: Any,
    passes: Passes = (),
    *,
    feeds: FeedShapes | None = None,
    progress: Progress | None = None,
) -> Report:
    """What ``passes`` would do; changes nothing.

    Args:
        target: a path, a :class:`Model`, a GraphDef, a MetaGraphDef or a ``tf.Graph``.
        passes: passes, their names or specifications.
        feeds: shapes by placeholder name, for predicting memory.
        progress: called with a short phrase at the start of each stage.

    Raises:
        GraphrevError: see :func:`load` and :func:`parse_passes`.
    """
    return _run(_model_of(target), _passes_for(target, passes), feeds, progress)[1]


def rewrite(
    target: Any,
    passes: Passes,
    *,
    feeds: FeedShapes | None = None,
    progress: Progress | None = None,
) -> Rewritten:
    """Rewrites a graph; a ``tf.Graph`` is rewritten in place, everything else is left as it is.

    Args:
        target: a path, a :class:`Model`, a GraphDef, a MetaGraphDef or a ``tf.Graph``.
        passes: passes, their names or specifications, in order.
        feeds: shapes by placeholder name, for predicting memory.
        progress: called with a short phrase at the start of each stage.

    Raises:
        UsageError: there is no such pass, option or target.
        InvalidInputError: the input is damaged or breaks an invariant.
        LiveGraphError: a session has run the graph, or it is finalized; nothing was changed.
        PassError: a pass left an invalid graph behind; nothing was changed.
    """
    chosen = _passes_for(target, passes)
    if _is_tf_graph(target):
        from graphrev.io import live

        live.check_untouched(target)
        model, report = _run(_model_of(target), chosen, feeds, progress)
        live.replay_on(target, report.run.edits)
    else:
        model, report = _run(_model_of(target), chosen, feeds, progress)
    return Rewritten(model, report, report.run.edits)


def verify(
    before: Any,
    after: Any,
    *,
    feeds: Mapping[str, Any] | None = None,
    fetches: Iterable[str] = (),
    variables: Mapping[str, Any] | None = None,
    checkpoint: str | Path | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
) -> Verification:
    """Runs both graphs on the same feeds, variables and random state and compares them.

    Args:
        before, after: paths, models, GraphDefs, MetaGraphDefs or tf.Graphs of the same program.
        feeds: by placeholder name an array, or a shape to draw values of.
        fetches: tensors or ops to compare; by default losses, gradients and the training ops.
        variables: values by variable name.
        checkpoint: a checkpoint prefix to read the variables from.
        rtol, atol: allowed relative (L2) and absolute error; derived from the rewrite by default.
        seed: seeds everything that is made up.

    Raises:
        VerificationError: the graphs cannot be run with what is at hand.
        InvalidGraphError: a graph breaks a structural invariant.
        GraphrevError: see :func:`load`.
    """
    if checkpoint is not None:
        from graphrev.io.checkpoints import read_checkpoint

        variables = {**read_checkpoint(checkpoint), **(variables or {})}
    first, second = _model_of(before), _model_of(after)
    _checked(first)
    _checked(second)
    return verification.verify(
        first.graph,
        second.graph,
        feeds={name: _feed(value) for name, value in (feeds or {}).items()},
        fetches=fetches,
        targets=_targets(first),
        variables=variables,
        rtol=rtol,
        atol=atol,
        seed=seed,
    )


def diff(
    before: Any,
    after: Any,
    *,
    feeds: FeedShapes | None = None,
    ignore: Iterable[str] = (),
    scope: str | None = None,
) -> GraphDiff:
    """What differs between two graphs, as plain data.

    Args:
        before: a path, a model, a GraphDef, a MetaGraphDef or a ``tf.Graph``.
        after: the same, or the :class:`Rewritten` or :class:`Report` of a run that started from
            ``before``: every change then carries the pass, the block and the reason.
        feeds: shapes by placeholder name, for predicting memory.
        ignore: ``device``, ``inputs``, ``controls``, ``attrs``, ``extra``, ``functions``,
            ``entries``, or names of attributes.
        scope: a regular expression; only nodes whose name it is found in are compared.

    Raises:
        UsageError: ``scope`` is no regular expression.
        GraphrevError: see :func:`load`.
    """
    first = _model_of(before)
    report = after.report if isinstance(after, Rewritten) else after
    report = report if isinstance(report, Report) else None
    second = _model_of(after) if report is not after else None
    run_ = report.run if report and _starts_from(report, first) else None
    if second is None:
        assert report is not None
        second = first.rewritten(report.run.after, report.run.edits)
    return compare(
        first,
        second,
        run=run_,
        targets=(_targets(first), _targets(second)),
        feeds=_shapes(feeds) or (report.feeds if report else {}),
        ignore=ignore,
        scope=scope,
    )


def _starts_from(report: Report, model: Model) -> bool:
    """Whether the run of ``report`` started from the graph of ``model``."""
    start = report.run.before
    if start is model.graph:
        return True
    return not compare(replace(model, graph=start), model, ignore=("entries",))


def _shapes(feeds: FeedShapes | None) -> dict[str, Shape]:
    return {
        name.removesuffix(":0"): s if isinstance(s, Shape) else Shape(tuple(s))
        for name, s in (feeds or {}).items()
    }


def _feed(value: Any) -> Any:
    """A tuple or list of sizes is a shape; arrays and numbers are values."""
    if isinstance(value, tuple | list):
        return Shape(tuple(value))
    return value


def _run(
    model: Model,
    passes: tuple[Pass[Any], ...],
    feeds: FeedShapes | None,
    progress: Progress | None,
) -> tuple[Model, Report]:
    shapes = _shapes(feeds)
    try:
        aware = tuple(_aware(pass_, model) for pass_ in passes)
        check_feeds(model.graph, shapes)
        with paused_collection():
            outcome = run(model.graph, aware, progress)
        report = Report(model.source, outcome, _targets(model), shapes)
        return model.rewritten(outcome.after, outcome.edits), report
    except (InvalidInputError, UsageError) as error:
        raise type(error)(f"'{printable(model.source)}': {error}") from None
    except WireError as error:
        # What lies around the graph is opened when something in it is looked for.
        raise InvalidInputError(
            f"'{printable(model.source)}' is damaged in a collection, signature or saver: "
            f"{printable(str(error))}. Copy or export it again."
        ) from None


def _told(pass_: Pass[Any], **options: Any) -> Pass[Any]:
    """The pass with those of ``options`` that it has."""
    own = {f.name for f in fields(pass_)} & set(options)
    return replace(pass_, **{key: options[key] for key in own}) if own else pass_


def _aware(pass_: Pass[Any], model: Model) -> Pass[Any]:
    """The pass, told what the model's signatures feed and fetch, and where its variables are."""
    known = {"fed": model.fed, "fetched": model.fetched}
    more: dict[str, Any] = {
        key: tuple(dict.fromkeys((*getattr(pass_, key, ()), *names)))
        for key, names in known.items()
        if names
    }
    if model.variables is not None and getattr(pass_, "checkpoint", "") is None:
        more["checkpoint"] = model.variables
    return _told(pass_, **more)


def _targets(model: Model) -> tuple[str, ...]:
    """The training ops that a MetaGraphDef names."""
    if model.envelope is None:
        return ()
    return tuple(name.removesuffix(":0") for name in model.envelope.collection("train_op"))


def _model_of(target: Any) -> Model:
    if isinstance(target, str | Path):
        return files.load(target)
    if isinstance(target, Model):
        return target
    if isinstance(target, Rewritten):
        return target.model
    if isinstance(target, Graph):
        return Model(target, Format.GRAPH_BINARY, "a graph")
    if _is_tf_graph(target):
        from graphrev.io import live

        return Model(live.from_tf_graph(target), Format.GRAPH_BINARY, "a tf.Graph")
    kind = getattr(getattr(target, "DESCRIPTOR", None), "name", None)
    if kind == "GraphDef":
        return decode(target.SerializeToString(), ".pb", "a GraphDef")
    if kind == "MetaGraphDef":
        return decode(target.SerializeToString(), ".meta", "a MetaGraphDef")
    raise UsageError(
        f"A {type(target).__name__} cannot be rewritten. Pass a path, a GraphDef, a MetaGraphDef "
        "or a tf.Graph."
    )


def _is_tf_graph(target: Any) -> bool:
    return hasattr(target, "as_graph_def") and hasattr(target, "get_operations")


def _checked(model: Model) -> None:
    try:
        structure.verify(model.graph, ops.output_count, ops.input_count)
    except InvalidInputError as error:
        raise type(error)(f"'{printable(model.source)}': {error}") from None
