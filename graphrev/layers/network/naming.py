"""How a Network and the layers it tracks get their names and variable scopes.

A Network keeps one promise: its variables are named by how Networks nest. So the first Network
that tracks a layer owns it: it picks the layer's name if the layer has none of its own, and the
layer's variables live in a scope inside the owner's scope, wherever the layer is called. A
Network that nobody tracks belongs to the variable scope in which it was made.
Names are fixed as early as they can be (when tracked, else at the first call), scopes at the first
call, because an owner's scope has to exist before those inside it.
Source of the behaviour: TensorFlow 1.15 contrib/eager/python/network.py, observed.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from graphrev.layers.network.errors import NetworkValueError
from graphrev.layers.network.legacy import (
    LegacyLayer,
    VariableScope,
    graph_name_counters,
    tf1,
)

if TYPE_CHECKING:
    from graphrev.layers.network.network import Network

Owner = Callable[[], "Network | None"]


def nobody() -> None:
    """The owner of a Network that was called before any other Network tracked it: for good."""


def owner_of(layer: LegacyLayer) -> Network | None:
    """The Network that owns ``layer`` and still exists."""
    owner: Owner | None = getattr(layer, "_first_parent", None)
    return owner() if owner is not None else None


def settle_network(network: Network, owner: Network | None) -> None:
    """Gives an anonymous Network its name, and a Network without a living owner its owner."""
    if not network._name:
        _name_network(network, owner)
    if network._first_parent is not nobody and owner_of(network) is None:
        network._first_parent = weakref.ref(owner) if owner is not None else nobody


def _name_network(network: Network, owner: Network | None) -> None:
    outer: str = network._default_parent_variable_scope.name
    if owner is not None:
        counters, taken = owner._sub_layer_name_uids, set(owner._owned_layers)
    else:
        prefix = f"{outer}/" if outer else ""
        opened = network._variable_scope_counts_on_init
        taken = {name[len(prefix) :] for name in opened if name and name.startswith(prefix)}
        counters = graph_name_counters()
    network._name, network._base_name = network._make_unique_name(
        name_uid_map=counters, avoid_names=taken, namespace=outer, zero_based=True
    )


def adopt_layer(network: Network, layer: LegacyLayer) -> None:
    """Makes ``network`` the owner of an unbuilt layer that has none, and names it within it.

    A layer that was given a name keeps it: then the name it was made from is the name it has.
    """
    if owner_of(layer) is not None:
        return
    if layer._name != layer._base_name:
        layer._name, layer._base_name = layer._make_unique_name(
            name_uid_map=network._sub_layer_name_uids,
            avoid_names=network._owned_layers,
            zero_based=True,
        )
    layer._first_parent = weakref.ref(network)


def open_network_scope(network: Network) -> None:
    """Creates the variable scope of a Network, after those of its owners, and of its layers.

    Raises:
      NetworkValueError: The name is taken in the outer scope, or a scope was put in between; the
        Network is then left without a scope, so that the next call says so again.
    """
    owner = owner_of(network)
    if owner is None:
        settle_network(network, None)
        outer = network._default_parent_variable_scope
    else:
        owner._set_scope()
        outer = owner._scope
    name = network._name or ""
    with tf1.variable_scope(outer) as entered:
        wanted = f"{entered.name}/{name}" if entered.name else name
        if wanted in network._variable_scope_counts_on_init:
            raise _taken(name)
        with tf1.variable_scope(None, default_name=name, use_resource=True) as scope:
            _check_scope(scope.name, name, owner)
            network._scope = scope
            if owner is None:
                network._name = scope.name
    open_layer_scopes(network)


def _check_scope(scope_name: str, name: str, owner: Network | None) -> None:
    outer, _, last = scope_name.rpartition("/")
    if last != name:
        raise _taken(name)
    if owner is not None and outer != owner.scope_name:
        raise NetworkValueError(
            "Network variable names must match a nesting of sub-Network names. Network "
            f"'{name}' is tracked by a Network whose prefix is '{owner.scope_name}', but its own "
            f"would be '{outer}'. Do not open a variable_scope between the two."
        )


def _taken(name: str) -> NetworkValueError:
    return NetworkValueError(
        f"A Network named '{name}' already exists (or a variable_scope was created with this "
        "name). Names must be unique. Give this Network another name, or none."
    )


def open_layer_scopes(network: Network) -> None:
    """Creates the variable scopes of the layers that ``network`` tracked before they were built."""
    for layer in network._non_network_sublayers:
        open_layer_scope(network, layer)


def open_layer_scope(network: Network, layer: LegacyLayer) -> None:
    """Creates one such scope, inside the scope of the layer's owner.

    Raises:
      NetworkValueError: The owner no longer exists, so nobody can say what its scope would be.
    """
    if layer._scope is not None:
        return
    owner = owner_of(layer)
    if owner is None:
        settle_network(network, None)
        raise NetworkValueError(
            f"The parent of a Layer added to Network {network.name} was garbage collected before "
            f"the Layer was built. Keep the Network that first tracked layer '{layer.name}' alive "
            "until it has been called."
        )
    owner._set_scope()
    layer._scope = layer._scope or _inner_scope(owner._scope, layer.name)


def _inner_scope(outer: VariableScope, name: str) -> VariableScope:
    with (
        tf1.variable_scope(outer),
        tf1.variable_scope(None, default_name=name, use_resource=True) as scope,
    ):
        return scope
