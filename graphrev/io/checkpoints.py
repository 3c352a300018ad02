"""Variables of a checkpoint, read with TensorFlow's own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphrev.errors import UsageError, printable


def read_checkpoint(prefix: str | Path) -> dict[str, Any]:
    """All variables of a checkpoint as arrays, by name.

    Args:
        prefix: what ``Saver.save`` returned, or a folder with a ``checkpoint`` file.

    Raises:
        UsageError: there is no such checkpoint, or it cannot be read.
    """
    import tensorflow as tf

    path = str(prefix)
    shown = printable(path)
    if Path(path).is_dir():
        path = tf.train.latest_checkpoint(path) or path
    try:
        reader: Any = tf.train.load_checkpoint(path)
        names = sorted(reader.get_variable_to_shape_map())
        return {name: reader.get_tensor(name) for name in names}
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        said = printable(str(error).splitlines()[0] if str(error) else type(error).__name__, 200)
        raise UsageError(
            f"There is no readable checkpoint '{shown}': {said}. Give the prefix that Saver.save "
            "returned, without '.index'."
        ) from None
