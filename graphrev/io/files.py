"""Loads and saves models: GraphDef, MetaGraphDef (binary and text), v1 SavedModel folders.

The extension says what a file holds (``.pb``, ``.pbtxt``, ``.meta``, a folder; each also with
``.gz`` behind it for reading); the content must agree. Text is recognised by its fields.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graphrev.errors import InvalidInputError, OutputError, UsageError, printable
from graphrev.io import saved_models, text, wire
from graphrev.io.graph_defs import decode_graph, encode_graph
from graphrev.io.meta_graphs import looks_like_meta_graph, open_meta_graph
from graphrev.io.model import Format, Model
from graphrev.io.writing import remove_leftovers, write_file, write_folder
from graphrev.ir import Graph

Progress = Callable[[int, int], None]

LARGEST = 2**31 - 1
"""Protobuf's limit for one message, in bytes; TensorFlow cannot read more."""
_EXTENSIONS = ".pb, .pbtxt, .meta or a SavedModel folder"


def load(path: str | Path, progress: Progress | None = None) -> Model:
    """Reads a graph.

    Args:
        path: a ``.pb``, ``.pbtxt`` or ``.meta`` file (``.gz`` behind it is opened), a SavedModel
            folder or the ``saved_model.pb`` in one.
        progress: called now and then with bytes read and bytes in all.

    Raises:
        UsageError: there is no such file, or its extension says nothing.
        InvalidInputError: the content is cut off, damaged, of another kind than the extension
            says, larger than 2 GiB, or breaks an invariant of the format.
    """
    file = Path(path)
    if not os.path.lexists(file):
        remove_leftovers(file)
    if file.is_dir() or file.name == "saved_model.pb":
        return _load_saved_model(file if file.is_dir() else file.parent, progress)
    kind = _kind(file)
    data = _read(file)
    return decode(data, kind, str(path), progress)


def decode(data: bytes, kind: str, source: str, progress: Progress | None = None) -> Model:
    """The model that a file's content holds.

    Args:
        data: the content.
        kind: the extension: ``.pb``, ``.pbtxt`` or ``.meta``.
        source: what to call the input in messages.

    Raises:
        InvalidInputError: see :func:`load`.
    """
    if kind == ".pb":
        return _graph_model(data, Format.GRAPH_BINARY, source, progress)
    spelled = _as_text(data)
    if kind == ".meta" and spelled is None:
        return _meta_model(data, Format.META_BINARY, source, progress)
    if spelled is None:
        raise InvalidInputError(
            f"'{printable(source)}' is not text. If it is a binary GraphDef, name it '.pb'; if "
            "it is a MetaGraphDef, name it '.meta'."
        )
    if text.is_saved_model(spelled):
        raise InvalidInputError(
            f"'{printable(source)}' is a SavedModel in text. Convert it to saved_model.pb first."
        )
    if kind == ".meta" or text.is_meta_graph(spelled):
        data = text.parse(spelled, source, meta=True)
        return _meta_model(data, Format.META_TEXT, source, progress)
    data = text.parse(spelled, source, meta=False)
    return _graph_model(data, Format.GRAPH_TEXT, source, progress)


def _kind(file: Path) -> str:
    name = file.name[:-3] if file.name.endswith(".gz") else file.name
    kind = Path(name).suffix
    if kind in (".pb", ".pbtxt", ".meta"):
        return kind
    hint = " A .cpb is TensorFlow's compressed internal format; export a .pb." * (kind == ".cpb")
    raise UsageError(
        f"'{printable(str(file))}': the extension does not say what it holds. Use {_EXTENSIONS}."
        f"{hint}"
    )


def _read(file: Path) -> bytes:
    shown = printable(str(file))
    try:
        if file.stat().st_size > LARGEST:
            raise _too_large(shown)
        with gzip.open(file) if file.name.endswith(".gz") else open(file, "rb") as content:
            data = content.read(LARGEST + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InvalidInputError(
            f"'{shown}' cannot be unpacked: {printable(str(error))}. It may be cut off or damaged: "
            "copy it again."
        ) from None
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or printable(str(error))
        raise UsageError(
            f"Cannot read '{shown}': {said}. Give the path of a readable file."
        ) from error
    if len(data) > LARGEST:
        raise _too_large(shown)
    return data


def _too_large(shown: str) -> InvalidInputError:
    return InvalidInputError(
        f"'{shown}' is larger than 2 GiB, protobuf's limit. Save the graph without its constants "
        "(freeze less), then rewrite it."
    )


def _as_text(data: bytes) -> str | None:
    """The content as text; ``None`` when it is binary."""
    head = data[:4096]
    if b"\0" in head or any(byte < 9 or 13 < byte < 32 for byte in head):
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _graph_model(data: bytes, kind: Format, source: str, progress: Progress | None) -> Model:
    with _readable(source, "GraphDef", data):
        if kind is Format.GRAPH_BINARY and looks_like_meta_graph(data):
            raise wire.WireError(0, "it starts like a MetaGraphDef, which belongs into a '.meta',")
        graph = decode_graph(data, progress)
    return Model(_not_empty(graph, source), kind, source)


def _meta_model(data: bytes, kind: Format, source: str, progress: Progress | None) -> Model:
    with _readable(source, "MetaGraphDef", data):
        inner, envelope = open_meta_graph(data)
        envelope.check()
        graph = decode_graph(inner, progress)
    return Model(_not_empty(graph, source), kind, source, envelope)


def _load_saved_model(folder: Path, progress: Progress | None) -> Model:
    file = folder / "saved_model.pb"
    if not file.is_file():
        has_text = (folder / "saved_model.pbtxt").is_file()
        hint = "Convert its saved_model.pbtxt first." if has_text else "Give the folder that has."
        raise UsageError(
            f"'{printable(str(folder))}' is no SavedModel: it has no saved_model.pb. {hint}"
        )
    data = _read(file)
    with _readable(str(file), "SavedModel", data):
        inner, envelope, frame = saved_models.open_saved_model(data, folder)
        envelope.check()
        graph = decode_graph(inner, progress)
    return Model(_not_empty(graph, str(folder)), Format.SAVED_MODEL, str(folder), envelope, frame)


def _not_empty(graph: Graph, source: str) -> Graph:
    if not graph.nodes:
        raise InvalidInputError(
            f"'{printable(source)}' holds an empty graph: there is nothing to rewrite. If it is "
            "another kind of file, give it the extension of its kind "
            f"({_EXTENSIONS})."
        )
    return graph


@contextmanager
def _readable(source: str, kind: str, data: bytes) -> Generator[None]:
    """Turns a wire-format error into a message about the file."""
    try:
        yield
    except wire.WireError as error:
        hint = "It may be cut off or damaged: copy or export it again."
        if _as_text(data) is not None:
            hint = "It holds text: name it '.pbtxt' (or '.meta' for a MetaGraphDef)."
        raise InvalidInputError(
            f"'{printable(source)}' is no {kind}: {printable(str(error))}. {hint}"
        ) from None
    except InvalidInputError as error:
        raise InvalidInputError(f"'{printable(source)}': {error}") from None


def save(model: Model, path: str | Path, variables: Mapping[str, Any] | None = None) -> None:
    """Writes a model, whole or not at all; what was at ``path`` is replaced.

    Args:
        path: a ``.pb``, ``.pbtxt`` or ``.meta`` file, or a folder for a SavedModel. A model without
            an envelope can only be written as a GraphDef.
        variables: what a SavedModel's variables hold from now on, by saved name; without it they
            are copied.

    Raises:
        UsageError: the extension does not fit the model, or other graphs of the SavedModel read
            the variables that changed.
        OutputError: the result is over 2 GiB, or cannot be written there.
    """
    target = Path(path)
    if model.frame is not None and target.suffix not in (".pb", ".pbtxt", ".meta"):
        _save_folder(model, target, variables)
        return
    write_file(target, encode(model, target))


def check_extension(model: Model, path: str | Path) -> None:
    """Refuses an output whose extension cannot hold the model.

    Raises:
        UsageError: the extension does not fit the model, or a folder would hold itself.
    """
    target = Path(path)
    if target.suffix in (".pb", ".pbtxt") or (target.suffix == ".meta" and model.envelope):
        return
    shown = printable(str(path))
    if model.frame is not None and not target.suffix:
        if model.frame.folder.resolve() in target.resolve().parents:
            raise UsageError(f"'{shown}' is inside the input folder. Give an output beside it.")
        return
    if target.suffix == ".meta":
        raise UsageError(
            f"'{shown}': the input '{printable(model.source)}' has no collections or saver to "
            "put into a MetaGraphDef. Write a .pb."
        )
    allowed = "a .pb, .pbtxt or .meta file" if model.envelope else "a .pb or .pbtxt file"
    folder = " or a folder" if model.frame else ""
    raise UsageError(f"'{shown}': write {allowed}{folder}.")


def encode(model: Model, target: Path) -> bytes:
    """The content of the file ``target``.

    Raises:
        UsageError: its extension does not fit the model, or text cannot hold all of it.
        OutputError: the content is over 2 GiB.
    """
    check_extension(model, target)
    data = _sized(encode_graph(model.graph), target)
    meta = target.suffix == ".meta" or (
        target.suffix == ".pbtxt" and model.format is Format.META_TEXT
    )
    if meta and model.envelope is not None:
        data = _sized(model.envelope.encode(data), target)
    if target.suffix == ".pbtxt" or (meta and model.format is Format.META_TEXT):
        return text.spell(data, str(target), meta=meta).encode("utf-8")
    return data


def _sized(data: bytes, target: Path) -> bytes:
    if len(data) > LARGEST:
        raise OutputError(
            f"'{printable(str(target))}' would be {len(data)} bytes, more than protobuf's limit of "
            "2 GiB. Freeze fewer constants into the graph."
        )
    return data


def _save_folder(model: Model, target: Path, variables: Mapping[str, Any] | None) -> None:
    envelope, frame = model.envelope, model.frame
    assert envelope is not None and frame is not None
    if variables is not None and frame.others:
        raise UsageError(
            f"'{printable(model.source)}' holds {frame.others + 1} graphs that share the "
            "variables, whose shapes changed. Write a .meta, and export from that."
        )
    meta = envelope.encode(encode_graph(model.graph))
    data = _sized(saved_models.encode_saved_model(meta, frame), target)

    def fill(folder: Path) -> None:
        saved_models.copy_companions(frame, folder, variables=variables is None)
        if variables is not None:
            from graphrev.io.checkpoints import write_checkpoint

            (folder / saved_models.VARIABLES).mkdir()
            write_checkpoint(folder / saved_models.VARIABLES / "variables", variables)
        (folder / "saved_model.pb").write_bytes(data)

    write_folder(target, fill)
