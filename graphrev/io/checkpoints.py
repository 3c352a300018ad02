"""Checkpoints of variables, read and written with TensorFlow's own ops.

Both formats of TensorFlow 1 are read: the current one (``PREFIX.index`` and data files, "V2") and
the older one (the file ``PREFIX`` itself, "V1"); a variable saved in parts is read as a whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from graphrev.errors import OutputError, UsageError, printable

Format = Literal["v1", "v2"]


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

    The files are made under another name first and moved, the index last: a reader sees the old
    checkpoint, none or the whole new one.

    Args:
        prefix: the checkpoint's name; its folder must exist.
        values: arrays by variable name.
        form: ``v2`` unless the older format is asked for.

    Raises:
        OutputError: it cannot be written.
    """
    import tempfile

    import tensorflow as tf

    target = Path(prefix)
    shown = printable(str(prefix))
    names = sorted(values)
    try:
        with tempfile.TemporaryDirectory(prefix=".graphrev-", dir=target.parent) as folder:
            inner = Path(folder, target.name)
            with tf.Graph().as_default(), tf.compat.v1.Session() as session:
                save, fed = _save(tf, str(inner), names, values, form)
                session.run(save, fed)
            for made, final in zip(written_files(inner, form), written_files(target, form)):
                shutil.move(made, final)
    except (OSError, tf.errors.OpError) as error:
        said = printable(str(error).splitlines()[0] if str(error) else type(error).__name__, 200)
        raise OutputError(
            f"Cannot write the checkpoint '{shown}': {said}. Free some space or give another place."
        ) from None


def _save(tf: Any, prefix: str, names: list[str], values: Mapping[str, Any], form: Format) -> Any:
    """The op that writes, and what is fed to it (a constant may not be larger than 2 GiB)."""
    fed: dict[Any, Any] = {}
    for name in names:
        value = values[name]
        kind = tf.string if value.dtype.kind in "OSU" else tf.as_dtype(value.dtype)
        fed[tf.compat.v1.placeholder(kind, value.shape)] = value
    tensors = list(fed)
    if form == "v1":
        return tf.raw_ops.Save(filename=prefix, tensor_names=names, data=tensors), fed
    slices = [""] * len(names)
    saved = tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=names, shape_and_slices=slices, tensors=tensors
    )
    return saved, fed
