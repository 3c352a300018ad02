"""Checkpoints of variables, read and written with TensorFlow's own ops.

Both formats of TensorFlow 1 are read: the current one (``PREFIX.index`` and data files, "V2") and
the older one (the file ``PREFIX`` itself, "V1"); a variable saved in parts is read as a whole.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from graphrev.errors import OutputError, UsageError, printable
from graphrev.io.writing import scratch_folder, sync_tree

Format = Literal["v1", "v2"]
_SLICED = frozenset({"float32", "float64", "int32", "int64"})
"""Types that TensorFlow puts together again from slices (util/tensor_bundle/tensor_bundle.cc)."""


class _Piece(NamedTuple):
    """A variable, or a slice of one in ``SaveV2``'s words: the whole shape, and what is taken."""

    name: str
    slice: str
    value: Any


def read_checkpoint(prefix: str | Path) -> dict[str, Any]:
    """All variables of a checkpoint as arrays, by name.

    Args:
        prefix: what ``Saver.save`` returned, or a folder with a ``checkpoint`` file.

    Raises:
        UsageError: there is no such checkpoint, or it cannot be read.
    """
    import tensorflow as tf

    path = newest(prefix)
    shown = printable(str(prefix))
    try:
        reader: Any = tf.train.load_checkpoint(path)
        names = sorted(reader.get_variable_to_shape_map())
        return {name: reader.get_tensor(name) for name in names}
    except (tf.errors.OpError, ValueError, LookupError, RuntimeError, MemoryError) as error:
        said = printable(str(error).splitlines()[0] if str(error) else type(error).__name__, 200)
        raise UsageError(
            f"There is no readable checkpoint '{shown}': {said}. Give the prefix that Saver.save "
            "returned, without '.index'."
        ) from None


def newest(prefix: str | Path) -> str:
    """The prefix of a folder's newest checkpoint; whatever is no such folder is a prefix itself."""
    import tensorflow as tf

    path = str(prefix)
    return (tf.train.latest_checkpoint(path) or path) if Path(path).is_dir() else path


def format_of(prefix: str | Path) -> Format:
    """The format of an existing checkpoint (of a folder's latest one: the current format)."""
    path = Path(prefix)
    older = path.is_file() and not path.with_name(f"{path.name}.index").exists()
    return "v1" if older else "v2"


def written_files(prefix: str | Path, form: Format) -> tuple[Path, ...]:
    """The files that :func:`write_checkpoint` makes; whether one exists tells about the others."""
    path = Path(prefix)
    if form == "v1":
        return (path,)
    endings = ("data-00000-of-00001", "index")
    return tuple(path.with_name(f"{path.name}.{ending}") for ending in endings)


def write_checkpoint(prefix: str | Path, values: Mapping[str, Any], form: Format = "v2") -> None:
    """Writes variables as a checkpoint that ``tf.train.Saver`` restores.

    The files are made in a folder of their own, synced and moved, the index last. The index says
    how many data files there are, and their names say it too: the new ones are of another number
    than any that is there, so the old index keeps its own until it is replaced. Whoever reads, and
    whenever this process is killed, there is the old checkpoint or the whole new one. A variable
    that is alone is saved in slices where that takes several files, as a partitioned one is; a
    single number, or half precision, cannot be: replacing it, for a moment there is no checkpoint.

    Args:
        prefix: the checkpoint's name; its folder must exist.
        values: arrays by variable name.
        form: ``v2`` unless the older format is asked for.

    Raises:
        OutputError: it cannot be written.
    """
    import tensorflow as tf

    target = Path(prefix)
    shown = printable(str(prefix))
    try:
        with scratch_folder(target) as folder:
            shards = 1 if form == "v1" else _new_number(target)
            pieces = _pieces(values, shards)
            shards = shards if shards <= len(pieces) else 1
            inner = folder / target.name
            with tf.Graph().as_default(), tf.compat.v1.Session() as session:
                save, fed = _save(tf, inner, pieces, form, shards)
                session.run(save, fed)
            sync_tree(folder)
            _move(inner, target, form, shards)
    except (OSError, tf.errors.OpError) as error:
        said = printable(str(error).splitlines()[0] if str(error) else type(error).__name__, 200)
        raise OutputError(
            f"Cannot write the checkpoint '{shown}': {said}. Free some space or give another place."
        ) from None


def _new_number(target: Path) -> int:
    """How many data files to write: a number of which there are none."""
    numbers = {int(path.name.rpartition("-")[2]) for path in _data_files(target)}
    return next(number for number in range(1, len(numbers) + 2) if number not in numbers)


def _pieces(values: Mapping[str, Any], least: int) -> list[_Piece]:
    """The variables, one of them in slices where there are fewer than ``least``."""
    whole = [_Piece(name, "", values[name]) for name in sorted(values)]
    missing = max(least - len(whole), 0)
    for place, piece in enumerate(whole if missing else ()):
        sizes = piece.value.shape
        axis = next((axis for axis, size in enumerate(sizes) if size > missing), None)
        if axis is not None and piece.value.dtype.name in _SLICED:
            return [*whole[:place], *_slices(piece, axis, missing + 1), *whole[place + 1 :]]
    return whole


def _slices(piece: _Piece, axis: int, count: int) -> Iterator[_Piece]:
    """A variable in parts, named as ``tf.train.Saver`` names those of a partitioned one."""
    import numpy as np

    sizes, start = piece.value.shape, 0
    for part in np.array_split(piece.value, count, axis):
        taken = [f"{start},{part.shape[axis]}" if at == axis else "-" for at in range(len(sizes))]
        yield _Piece(piece.name, f"{' '.join(map(str, sizes))} {':'.join(taken)}", part)
        start += part.shape[axis]


def _data_files(target: Path) -> list[Path]:
    """The data files of a checkpoint in the current format, of whatever number."""
    pattern = re.compile(re.escape(target.name) + r"\.data-[0-9]{5}-of-[0-9]{5}")
    return sorted(path for path in target.parent.iterdir() if pattern.fullmatch(path.name))


def _move(inner: Path, target: Path, form: Format, shards: int) -> None:
    """Puts the finished files into their places and removes the data files of older ones."""
    if form == "v1":
        os.replace(inner, target)
        return
    index = target.with_name(f"{target.name}.index")
    old, made = _data_files(target), _data_files(inner)
    final = [target.with_name(path.name) for path in made]
    if set(old) & set(final):
        index.unlink(missing_ok=True)
    for path, place in zip(made, final):
        os.replace(path, place)
    os.replace(inner.with_name(index.name), index)
    for path in old:
        if path not in final:
            path.unlink(missing_ok=True)


def _save(
    tf: Any,
    prefix: Path,
    pieces: list[_Piece],
    form: Format,
    shards: int,
) -> Any:
    """The op that writes, and what is fed to it (a constant may not be larger than 2 GiB)."""
    fed: dict[Any, Any] = {}
    for _, _, value in pieces:
        kind = tf.string if value.dtype.kind in "OSU" else tf.as_dtype(value.dtype)
        fed[tf.compat.v1.placeholder(kind, value.shape)] = value
    tensors, names, slices = list(fed), [p.name for p in pieces], [p.slice for p in pieces]
    if form == "v1":
        return tf.raw_ops.Save(filename=str(prefix), tensor_names=names, data=tensors), fed
    prefixes = [f"{prefix}.{number}" for number in range(shards)] if shards > 1 else [str(prefix)]
    saved = [
        tf.raw_ops.SaveV2(
            prefix=part,
            tensor_names=names[number::shards],
            shape_and_slices=slices[number::shards],
            tensors=tensors[number::shards],
        )
        for number, part in enumerate(prefixes)
    ]
    if shards == 1:
        return saved[0], fed
    with tf.control_dependencies(saved):
        merged = tf.raw_ops.MergeV2Checkpoints(
            checkpoint_prefixes=prefixes, destination_prefix=str(prefix), delete_old_dirs=False
        )
    return merged, fed
