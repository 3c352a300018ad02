"""``save_network_checkpoint``: the variables of a Network under names of their own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from graphrev.layers.network.errors import NameConflict, NetworkStateError, NetworkValueError
from graphrev.layers.network.legacy import Variable, default_session, full_name, tf1
from graphrev.layers.network.network import Network

MapFunc = Callable[[str], str]
Fault = Callable[[NameConflict], NetworkValueError]


def save_network_checkpoint(
    network: Network,
    save_path: str | os.PathLike[str],
    global_step: Any = None,
    map_func: MapFunc | None = None,
) -> str:
    """Saves the Network's variables with the default session, or eagerly.

    Args:
      network: A Network that has been called.
      save_path: A checkpoint prefix, or a directory: then the Network's name, its slashes turned
        to underscores, is the file name in it.
      global_step: Appended to the prefix; by default the graph's global step, if it has one.
      map_func: Takes a variable's full name, without ``:0``, to its name in the checkpoint. By
        default the Network's ``scope_name`` and slash are cut off where a name starts with them.

    Returns:
      The prefix that ``restore_network_checkpoint`` takes.

    Raises:
      NetworkValueError: The Network was never called, or two variables get one name.
      NetworkStateError: Graph mode, and no default session.
    """
    if not network.built:
        raise NetworkValueError(
            "Attempt to save the Network before it was first called. It has no variables yet, so "
            "there is nothing to save."
        )
    network._set_scope()
    by_key = variables_by_key(
        network,
        map_func or strip_scope(network.scope_name),
        lambda conflict: conflict.on_save(by_user_map=map_func is not None),
    )
    step = tf1.train.get_global_step() if global_step is None else global_step
    return tf1.train.Saver(by_key).save(
        sess=session_for("save"),
        save_path=checkpoint_prefix(network, save_path),
        write_meta_graph=False,
        global_step=step,
    )


def strip_scope(scope_name: str) -> MapFunc:
    """The default map function: ``scope_name/a/b`` is saved as ``a/b``, other names as they are.

    It knows the name, not the Network: restore requests that outlive the Network keep it.
    """
    return lambda name: name.removeprefix(f"{scope_name}/")


def checkpoint_prefix(network: Network, save_path: str | os.PathLike[str]) -> str:
    """``save_path`` itself, or the Network's own prefix if it is a directory."""
    path = os.fspath(save_path)
    return os.path.join(path, network.name.replace("/", "_")) if os.path.isdir(path) else path


def variables_by_key(network: Network, map_func: MapFunc, fault: Fault) -> dict[str, Variable]:
    """The Network's variables by name in the checkpoint.

    Raises:
      NetworkValueError: What ``fault`` makes of two variables with one name.
    """
    by_key: dict[str, Variable] = {}
    for variable in network.weights:
        key = map_func(full_name(variable))
        first = by_key.setdefault(key, variable)
        if first is not variable:
            raise fault(
                NameConflict(
                    network.name, network.scope_name, key, full_name(first), full_name(variable)
                )
            )
    return by_key


def session_for(verb: str) -> Any:
    """The default session in graph mode, ``None`` in eager mode.

    Raises:
      NetworkStateError: There is no default session.
    """
    session = default_session()
    if session is None and not tf1.executing_eagerly():
        raise NetworkStateError(
            f"{verb}_network_checkpoint needs a default session in graph mode. Call it inside "
            "`with tf.compat.v1.Session():` or session.as_default()."
        )
    return session
