"""Section 3.3 of seed-systems.md, checkpoints: one function per statement."""

from __future__ import annotations

import gc
import os

from bench import names

ROWS = {}


def row(function):
    ROWS[function.__name__] = function
    return function


def _built(b, name, value):
    net = b.My(name)
    net(b.x(1, 1))
    b.init()
    b.assign(net.variables[0], [[value]])
    return net


def _values(b, net):
    return [b.value(v.read_value()) for v in net.variables]


def _saved(b, value=3.0, name="saved", **options):
    return b.tfe.save_network_checkpoint(_built(b, name, value), b.path("c"), **options)


@row
def save_unbuilt(b):
    b.tfe.save_network_checkpoint(b.My(), b.path("c"))


@row
def save_into_a_directory(b):
    with b.tf.variable_scope("S"):
        net = b.My("n")
    net(b.x())
    b.init()
    prefix = b.tfe.save_network_checkpoint(net, b.folder)
    return os.path.relpath(prefix, b.folder)


@row
def save_with_a_step(b):
    return os.path.basename(_saved(b, global_step=12))


@row
def save_with_the_default_step(b):
    step = b.tf.train.create_global_step()
    net = _built(b, "abcd", 1.0)
    b.assign(step, 4242)
    first = b.tfe.save_network_checkpoint(net, b.folder)
    return os.path.relpath(first, b.folder)


@row
def keys_without_the_scope(b):
    net = b.Two("n")
    net(b.x())
    b.init()
    return b.keys(b.tfe.save_network_checkpoint(net, b.path("c")))


@row
def keys_by_a_map_function(b):
    return b.keys(_saved(b, map_func=lambda name: "prefix/" + name))


@row
def keys_of_a_shared_layer_keep_its_owner(b):
    shared = b.layers.Dense(1, use_bias=False)
    owner = b.tfe.Sequential([shared], name="owner")
    net = b.tfe.Sequential([shared, b.layers.Dense(1, use_bias=False)], name="n")
    net(b.x())
    b.init()
    del owner
    return b.keys(b.tfe.save_network_checkpoint(net, b.path("c")))


@row
def restore_existing(b):
    prefix = _saved(b)
    net = _built(b, "other", 5.0)
    b.tfe.restore_network_checkpoint(net, prefix)
    return _values(b, net)


@row
def restore_from_the_directory(b):
    net = _built(b, "n", 3.0)
    b.tfe.save_network_checkpoint(net, b.folder)
    b.assign(net.variables[0], [[4.0]])
    b.tfe.restore_network_checkpoint(net, b.folder)
    return _values(b, net)


@row
def restore_from_the_directory_with_steps(b):
    net = _built(b, "n", 3.0)
    b.tfe.save_network_checkpoint(net, b.folder, global_step=9)
    b.assign(net.variables[0], [[4.0]])
    b.tfe.save_network_checkpoint(net, b.folder, global_step=10)
    b.assign(net.variables[0], [[5.0]])
    b.tfe.restore_network_checkpoint(net, b.folder)
    return _values(b, net)


@row
def restore_unbuilt(b):
    prefix = _saved(b)
    net = b.My("later")
    b.tfe.restore_network_checkpoint(net, prefix)
    before = list(net.variables)
    return [before, b.value(net(b.x(1, 1))), _values(b, net)]


@row
def initializing_again_keeps_the_restored_value(b):
    prefix = _saved(b)
    net = b.My("later")
    b.tfe.restore_network_checkpoint(net, prefix)
    net(b.x(1, 1))
    b.init()
    return _values(b, net)


@row
def later_restores_win(b):
    first = _saved(b, 3.0, "one")
    second = b.tfe.save_network_checkpoint(_built(b, "two", 4.0), b.path("d"))
    net = b.My("later")
    b.tfe.restore_network_checkpoint(net, first)
    b.tfe.restore_network_checkpoint(net, second)
    net(b.x(1, 1))
    return _values(b, net)


@row
def a_later_restore_of_a_part_wins_for_that_part(b):
    whole = b.tfe.Sequential([b.My("a"), b.My("b")], name="whole")
    whole(b.x(1, 1))
    b.init()
    for variable, value in zip(whole.variables, (1.0, 2.0)):
        b.assign(variable, [[value]])
    all_of_it = b.tfe.save_network_checkpoint(whole, b.path("w"))
    part = _saved(b, 9.0)
    net = b.tfe.Sequential([b.My("a"), b.My("b")], name="net")
    b.tfe.restore_network_checkpoint(net, all_of_it)
    b.tfe.restore_network_checkpoint(net.get_layer("b"), part)
    net(b.x(1, 1))
    return _values(b, net)


@row
def an_earlier_restore_of_a_part_loses(b):
    whole = b.tfe.Sequential([b.My("a"), b.My("b")], name="whole")
    whole(b.x(1, 1))
    b.init()
    for variable, value in zip(whole.variables, (1.0, 2.0)):
        b.assign(variable, [[value]])
    all_of_it = b.tfe.save_network_checkpoint(whole, b.path("w"))
    part = _saved(b, 9.0)
    net = b.tfe.Sequential([b.My("a"), b.My("b")], name="net")
    b.tfe.restore_network_checkpoint(net.get_layer("b"), part)
    b.tfe.restore_network_checkpoint(net, all_of_it)
    net(b.x(1, 1))
    return _values(b, net)


@row
def restore_reaches_layers_tracked_later(b):
    prefix = _saved(b)
    net = b.tfe.Sequential(name="later")
    b.tfe.restore_network_checkpoint(net, prefix)
    net.add(b.layers.Dense(1, use_bias=False))
    net(b.x(1, 1))
    return _values(b, net)


@row
def a_second_restore_leaves_the_first_to_layers_tracked_later(b):
    first = _saved(b)
    second = b.tfe.save_network_checkpoint(
        _built(b, "x", 8.0), b.path("d"), map_func=lambda name: "unrelated"
    )
    net = b.tfe.Sequential(name="later")
    b.tfe.restore_network_checkpoint(net, first)
    net.add(b.layers.Dense(1, use_bias=False))
    b.tfe.restore_network_checkpoint(net, second)
    net(b.x(1, 1))
    b.init()
    return _values(b, net)


@row
def restore_with_a_map_function(b):
    def renamed(name):
        return name.split("/")[-1]

    prefix = _saved(b, map_func=renamed)
    built, unbuilt = _built(b, "built", 1.0), b.My("unbuilt")
    for net in (built, unbuilt):
        b.tfe.restore_network_checkpoint(net, prefix, map_func=renamed)
    unbuilt(b.x(1, 1))
    return _values(b, built) + _values(b, unbuilt)


@row
def restore_keeps_the_custom_getter_of_the_scope(b):
    prefix, seen = _saved(b), []

    def getter(getter, name, *args, **kwargs):
        seen.append(name)
        return getter(name, *args, **kwargs)

    with b.tf.variable_scope("", custom_getter=getter):
        net = b.My("later")
    b.tfe.restore_network_checkpoint(net, prefix)
    net(b.x(1, 1))
    return [seen, _values(b, net)]


@row
def restore_names_an_anonymous_network(b):
    prefix = _saved(b)
    net = b.My()
    b.tfe.restore_network_checkpoint(net, prefix)
    return [net.name, net.scope_name]


@row
def restore_of_a_shared_layer_restores_both(b):
    prefix = _saved(b)
    shared = b.layers.Dense(1, use_bias=False)
    one = b.tfe.Sequential([shared], name="one")
    two = b.tfe.Sequential([shared], name="two")
    b.tfe.restore_network_checkpoint(one, prefix)
    two(b.x(1, 1))
    return _values(b, two)


@row
def restore_of_a_layer_whose_owner_is_gone(b):
    prefix = _saved(b)
    shared = b.layers.Dense(1, use_bias=False)
    net = b.tfe.Sequential(name="net")
    owner = b.tfe.Sequential([shared], name="owner")
    net.add(shared)
    del owner
    gc.collect()
    b.tfe.restore_network_checkpoint(net, prefix)


def _pair(b, name, first):
    return b.tfe.Sequential([first, b.layers.Dense(1, use_bias=False)], name=name)


def _doubled(b, name, call=True):
    """A network whose two variables are both called dense/kernel without prefixes."""
    inner = b.tfe.Sequential([b.layers.Dense(1, use_bias=False)], name=name + "_inner")
    outer = _pair(b, name, inner)
    if call:
        outer(b.x(1, 1))
        b.init()
    return outer


@row
def two_variables_one_key_save(b):
    b.tfe.save_network_checkpoint(_doubled(b, "p"), b.path("c"), map_func=lambda name: "foo")


@row
def two_variables_one_key_restore_existing(b):
    b.tfe.restore_network_checkpoint(
        _doubled(b, "p"), _saved(b, map_func=lambda n: "foo"), map_func=lambda name: "foo"
    )


@row
def two_variables_one_key_restore_on_create(b):
    prefix = _saved(b, map_func=lambda name: "foo")
    net = _doubled(b, "p", call=False)
    b.tfe.restore_network_checkpoint(net, prefix, map_func=lambda name: "foo")
    net(b.x(1, 1))


def _default_conflict(b, name, call=True):
    """A layer owned elsewhere, whose full name is what another one's is without the prefix."""
    owner = b.tfe.Sequential([b.layers.Dense(1, use_bias=False, name="d")], name="k")
    inner = b.tfe.Sequential([b.layers.Dense(1, use_bias=False, name="d")], name="k")
    net = b.tfe.Sequential([inner], name=name)
    net.add(owner.layers[0])
    if call:
        net(b.x(1, 1))
        b.init()
    return net, owner


@row
def default_map_conflict_save(b):
    net, _owner = _default_conflict(b, "net")
    b.tfe.save_network_checkpoint(net, b.path("c"))


@row
def default_map_conflict_restore_existing(b):
    net, _owner = _default_conflict(b, "net")
    b.tfe.restore_network_checkpoint(net, _saved(b))


@row
def default_map_conflict_restore_on_create(b):
    prefix = _saved(b, map_func=lambda name: "k/d/kernel")
    net, _owner = _default_conflict(b, "net", call=False)
    b.tfe.restore_network_checkpoint(net, prefix)
    net(b.x(1, 1))


@row
def restore_of_a_missing_key(b):
    prefix = _saved(b, map_func=lambda name: "elsewhere")
    b.tfe.restore_network_checkpoint(_built(b, "n", 1.0), prefix)


@row
def restore_from_nowhere(b):
    b.tfe.restore_network_checkpoint(b.My("n"), b.path("nothing"))


@row
def a_built_network_keeps_no_requests(b):
    prefix = _saved(b)
    net = _built(b, "n", 1.0)
    for _ in range(3):
        b.tfe.restore_network_checkpoint(net, prefix)
    return net._scope.custom_getter is None


@row
def checkpoint_names_of_nested_networks(b):
    net = b.tfe.Sequential([b.My("a"), b.My()], name="n")
    net(b.x())
    b.init()
    return [names(net.variables), b.keys(b.tfe.save_network_checkpoint(net, b.path("c")))]
