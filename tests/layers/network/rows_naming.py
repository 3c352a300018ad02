"""Section 3.2 of seed-systems.md, names and scopes: one function per statement."""

from __future__ import annotations

import gc

from bench import attempt, names

ROWS = {}


def row(function):
    ROWS[function.__name__] = function
    return function


@row
def doc_example(b):
    net = b.Two("net")
    net(b.x())
    return names(net.variables)


@row
def always_resource_variables(b):
    net = b.Two()
    net(b.x())
    return sorted({type(v).__name__ for v in net.variables})


@row
def anonymous_names_count_up(b):
    nets = [b.Two(), b.Two()]
    for net in nets:
        net(b.x())
    return [net.name for net in nets] + [net.scope_name for net in nets]


@row
def explicit_name_is_final_at_once(b):
    return b.Two("chosen").name


@row
def anonymous_name_is_unset(b):
    return b.Two().name


@row
def anonymous_name_is_set_by_track_layer(b):
    outer, inner = b.tfe.Network(), b.Two()
    outer.track_layer(inner)
    return [inner.name, "ValueError" in attempt(lambda: outer.name)["raises"]]


@row
def scope_name_before_the_call(b):
    return b.Two("q1").scope_name


@row
def variables_before_the_call(b):
    return b.Two("q").variables


@row
def slash_in_a_name(b):
    return b.Two("a/b")


@row
def scope_as_a_name(b):
    return b.Two(b.tf.get_variable_scope())


@row
def empty_name_stays_empty(b):
    return b.Two("").name


@row
def empty_name_called(b):
    net = b.Two("")
    net(b.x())
    return [net.name, net.variables[0].name]


@row
def name_with_a_space(b):
    net = b.Two("a b")
    return str(net(b.x()).shape)


@row
def one_explicit_name_twice(b):
    first, second = b.Two("foo"), b.Two("foo")
    first(b.x())
    second(b.x())


@row
def a_refused_name_stays_refused(b):
    first, second = b.Two("foo"), b.Two("foo")
    first(b.x())
    attempt(lambda: second(b.x()))
    second(b.x())


@row
def name_of_a_closed_scope(b):
    with b.tf.variable_scope("outer"):
        with b.tf.variable_scope("foo"):
            pass
        net = b.Two("foo")
    net(b.x())


@row
def name_of_a_scope_opened_after_init(b):
    with b.tf.variable_scope("outer"):
        net = b.Two("foo")
        with b.tf.variable_scope("foo"):
            pass
    net(b.x())


@row
def anonymous_networks_skip_scope_names(b):
    with b.tf.variable_scope("two"):
        pass
    net = b.Two()
    net(b.x())
    return net.name


@row
def scope_at_init_is_the_prefix(b):
    with b.tf.variable_scope("S"):
        net = b.Two("nn")
    net(b.x())
    return [net.name, net.scope_name, net.variables[0].name]


@row
def scope_at_the_call_is_not(b):
    net = b.Two("nn2")
    with b.tf.variable_scope("T"):
        net(b.x())
    return [net.name, net.variables[0].name]


@row
def anonymous_names_within_scopes(b):
    nets = [b.My()]
    with b.tf.variable_scope("scope"):
        nets += [b.My(), b.My()]
    nets.append(b.My())
    for net in nets:
        net(b.x())
    return names(v for net in nets for v in net.variables)


@row
def scope_put_between_parent_and_child(b):
    class Outer(b.tfe.Network):
        def __init__(self):
            super().__init__(name="outer")
            with b.tf.variable_scope("between"):
                self.inner = self.track_layer(b.My("inner"))

        def call(self, x):
            return self.inner(x)

    net = Outer()
    net(b.x())
    return names(net.variables)


@row
def explicit_scope_argument(b):
    return b.Two()(b.x(), scope="abc")


@row
def custom_getter_of_the_outer_scope_is_called(b):
    seen = []

    def getter(getter, name, *args, **kwargs):
        seen.append(name)
        return getter(name, *args, **kwargs)

    with b.tf.variable_scope("", custom_getter=getter):
        net = b.My()
        net(b.x())
    return [names(net.variables), seen]


@row
def layers_and_networks_share_a_counter(b):
    class Dense(b.tfe.Network):
        def __init__(self):
            super().__init__()
            self.inside = self.track_layer(b.layers.Dense(1))

        def call(self, x):
            return self.inside(x)

    class Mixed(b.tfe.Network):
        def __init__(self):
            super().__init__()
            kinds = [b.layers.Dense, Dense, b.layers.Dense, Dense]
            self.all = [
                self.track_layer(kind(1) if kind is not Dense else kind()) for kind in kinds
            ]

        def call(self, x):
            for layer in self.all:
                x = layer(x)
            return x

    net = Mixed()
    net(b.x())
    return [[layer.name for layer in net.layers], names(net.trainable_weights)]


@row
def explicit_layer_names_are_respected(b):
    net = b.tfe.Sequential(
        [b.layers.Dense(1, name="mine"), b.layers.Dense(1), b.layers.Dense(1)], name="n"
    )
    net(b.x())
    return names(net.variables)


@row
def built_layers_keep_their_names(b):
    free = [b.layers.Dense(1, use_bias=False) for _ in range(2)]
    for layer in free:
        layer(b.x())
    net = b.tfe.Sequential([free[1], b.layers.Dense(1, use_bias=False)], name="n")
    net(b.x())
    return [[layer.name for layer in net.layers], names(net.variables)]


@row
def first_tracker_owns_the_layer(b):
    shared = b.layers.Dense(1, use_bias=False)
    first = b.tfe.Sequential([shared], name="first")
    second = b.tfe.Sequential([shared], name="second")
    second(b.x())
    first(b.x())
    return [names(first.variables), names(second.variables)]


@row
def owner_is_the_first_constructed_not_the_first_called(b):
    shared = b.My("shared")
    first = b.tfe.Sequential([shared], name="first")
    second = b.tfe.Sequential([shared], name="second")
    second(b.x())
    return [shared.name, names(first.variables), names(second.variables)]


@row
def a_called_network_keeps_its_own_name(b):
    inner = b.My("inner")
    inner(b.x())
    outer = b.tfe.Sequential([inner], name="outer")
    outer(b.x())
    return names(outer.variables)


@row
def owner_was_collected_before_the_build(b):
    shared = b.layers.Dense(1)
    second = b.tfe.Sequential(name="second")
    first = b.tfe.Sequential([shared], name="first")
    second.add(shared)
    del first
    gc.collect()
    second(b.x())


@row
def nested_names(b):
    inner = b.tfe.Sequential([b.My("x"), b.My(), b.My()], name="inner")
    outer = b.tfe.Sequential([inner, b.My()], name="outer")
    outer(b.x())
    return names(outer.variables)


@row
def explicit_name_inside_itself(b):
    outer = b.tfe.Sequential([b.My("same")], name="same")
    outer(b.x())
    return names(outer.variables)


@row
def op_name_of_the_output(b):
    if b.eager:
        return None
    return [b.Two("net")(b.x()).name, b.Two("other")(b.x()).name]


@row
def layers_tracked_inside_call(b):
    class Lazy(b.tfe.Network):
        def call(self, x):
            for _ in range(2):
                x = self.track_layer(b.layers.Dense(1, use_bias=False))(x)
            return x

    net = Lazy("lazy")
    net(b.x())
    return names(net.variables)
