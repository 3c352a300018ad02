"""``restore_network_checkpoint``: assigns the variables there are, keeps values for the others."""

from __future__ import annotations

import os
import re
from typing import Any

from graphrev.layers.network import naming
from graphrev.layers.network.deferred import Request, defer
from graphrev.layers.network.legacy import LegacyLayer, default_session, tf1
from graphrev.layers.network.network import Network
from graphrev.layers.network.saving import (
    MapFunc,
    checkpoint_prefix,
    session_for,
    strip_scope,
    variables_by_key,
)


def restore_network_checkpoint(
    network: Network,
    save_path: str | os.PathLike[str],
    map_func: MapFunc | None = None,
) -> None:
    """Restores a Network, built or not.

    Variables that exist are assigned now, by the default session in graph mode. Entries of the
    checkpoint that no variable has are kept and become the initial value of the variables created
    later, in graph mode initialized at once by the session that was the default one here (without
    one, by whoever initializes them). Of several restores the last one that has a value counts. A
    layer shared with another Network is restored for both.

    Args:
      network: The Network; if no other Network tracked it, it gets its name and scope now.
      save_path: What ``save_network_checkpoint`` returned, or the directory it was given (there
        the Network's own name is looked for, then that name with the highest step).
      map_func: The same function as for saving, not its inverse.

    Raises:
      NetworkValueError: Two variables get one name in the checkpoint, now or when created.
      NetworkStateError: There are variables to assign, graph mode, and no default session.
      tf.errors.OpError: The checkpoint cannot be read, or has no value for an existing variable.
    """
    network._finalize_name()
    network._set_scope()
    prefix = _existing_prefix(checkpoint_prefix(network, save_path))
    key_of = map_func or strip_scope(network.scope_name)
    by_user_map = map_func is not None
    present = variables_by_key(
        network, key_of, lambda conflict: conflict.on_restore(by_user_map=by_user_map)
    )
    if present:
        tf1.train.Saver(present).restore(sess=session_for("restore"), save_path=prefix)
    values = _values(prefix, without=present)
    if values:
        request = Request(
            map_func=key_of,
            by_user_map=by_user_map,
            network_name=network.name,
            scope_name=network.scope_name,
            session=default_session(),
            values=values,
        )
        _defer_everywhere(network, request)


def _existing_prefix(prefix: str) -> str:
    """``prefix``, or the one with the highest step after it if only such are in its directory."""
    folder, name = os.path.split(prefix)
    if os.path.exists(f"{prefix}.index") or not os.path.isdir(folder):
        return prefix
    pattern = re.compile(re.escape(name) + r"-(\d+)\.index")
    steps = [int(found[1]) for found in map(pattern.fullmatch, os.listdir(folder)) if found]
    return f"{prefix}-{max(steps)}" if steps else prefix


def _values(prefix: str, without: dict[str, Any]) -> dict[str, Any]:
    reader = tf1.train.load_checkpoint(prefix)
    keys = sorted(set(reader.get_variable_to_shape_map()) - set(without))
    return {key: reader.get_tensor(key) for key in keys}


def _defer_everywhere(layer: LegacyLayer, request: Request) -> None:
    """Leaves ``request`` with a layer and, for a Network, with every layer inside it."""
    if isinstance(layer, Network):
        layer._set_scope()
    defer(layer._scope, request)
    if not isinstance(layer, Network):
        return
    for inner in layer.layers:
        if not isinstance(inner, Network):
            naming.open_layer_scope(layer, inner)
        _defer_everywhere(inner, request)
