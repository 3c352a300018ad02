"""Sections 3.2 and 3.4 of seed-systems.md, behaviour: one function per statement."""

from __future__ import annotations

import copy

from bench import attempt, names

ROWS = {}


def row(function):
    ROWS[function.__name__] = function
    return function


@row
def track_layer_returns_the_layer(b):
    layer = b.layers.Dense(1)
    return b.tfe.Network().track_layer(layer) is layer


@row
def track_layer_refuses_none(b):
    b.tfe.Network().track_layer(None)


@row
def track_layer_refuses_keras(b):
    b.tfe.Network().track_layer(b.keras_dense(1))


@row
def track_layer_before_init(b):
    class Early(b.tfe.Network):
        def __init__(self):
            self.track_layer(b.layers.Dense(1))

    Early()


@row
def two_owned_layers_of_one_name(b):
    b.tfe.Sequential([b.layers.Dense(1, name="z"), b.layers.Dense(1, name="z")])


@row
def two_networks_of_one_name(b):
    b.tfe.Sequential([b.My("z"), b.My("z")])


@row
def unbuilt_layer_twice(b):
    net, layer = b.tfe.Network(), b.layers.Dense(1)
    net.track_layer(layer)
    net.track_layer(layer)
    return len(net.layers)


@row
def built_layer_twice(b):
    net, layer = b.tfe.Network(), b.layers.Dense(1)
    layer(b.x())
    net.track_layer(layer)
    net.track_layer(layer)
    return [len(net.layers), len(net.variables)]


@row
def untracked_layer(b):
    class Careless(b.tfe.Network):
        def __init__(self):
            super().__init__(name="w")
            self.hidden = b.layers.Dense(1)

        def call(self, x):
            return self.hidden(x)

    net = Careless()
    net(b.x())
    return [net.variables, names(net.hidden.variables)]


@row
def get_layer(b):
    net = b.Two()
    found = [net.get_layer(index=0), net.get_layer(index=-1), net.get_layer("dense_1")]
    return [net.layers.index(layer) for layer in found]


@row
def get_layer_by_both(b):
    b.Two().get_layer(name="dense", index=0)


@row
def get_layer_by_neither(b):
    b.Two().get_layer()


@row
def get_layer_by_empty_name(b):
    b.Two().get_layer(name="")


@row
def get_layer_beyond_the_end(b):
    b.Two().get_layer(index=5)


@row
def get_layer_of_no_such_name(b):
    b.Two().get_layer("zz")


@row
def trainable_can_be_set_to_true(b):
    net = b.Two()
    net.trainable = True
    return net.trainable


@row
def trainable_cannot_be_set_to_false(b):
    b.Two().trainable = False


@row
def add_variable(b):
    b.Two().add_variable("v", [1])


@row
def add_loss(b):
    b.Two().add_loss(b.x())


@row
def losses(b):
    def square(w):
        return b.tf.reduce_sum(w * w)

    dense = b.layers.Dense(1, kernel_regularizer=square, kernel_initializer=b.tf.ones_initializer())
    net = b.tfe.Sequential([dense, b.layers.Dense(1)])
    net(b.x(1, 3))
    b.init()
    return [b.value(loss) for loss in net.losses]


@row
def losses_follow_the_variable(b):
    def total(w):
        return b.tf.reduce_sum(w)

    net = b.tfe.Sequential([b.layers.Dense(1, kernel_regularizer=total)])
    net(b.x(1, 2))
    b.init()
    b.assign(net.variables[0], [[2.0], [3.0]])
    return [b.value(loss) for loss in net.losses]


@row
def regularization_collection(b):
    if b.eager:
        return None
    net = b.tfe.Sequential([b.layers.Dense(1, kernel_regularizer=b.tf.reduce_sum)])
    outer = b.tfe.Sequential([net])
    outer(b.x())
    outer(b.x())
    return [len(b.tf.losses.get_regularization_losses()), len(outer.losses)]


def _normalized(b):
    net = b.tfe.Sequential([b.layers.BatchNormalization()], name="bn")
    return b.tfe.Sequential([net], name="outer")


@row
def updates_of_batch_normalization(b):
    net = _normalized(b)
    net(b.x(4, 3), training=True)
    kept = [] if b.eager else b.tf.get_collection(b.tf.GraphKeys.UPDATE_OPS)
    return [len(net.updates), len(kept)]


@row
def batch_normalization_weights(b):
    net = _normalized(b)
    net(b.x(4, 3), training=True)
    return [names(net.trainable_weights), names(net.non_trainable_weights), len(net.weights)]


@row
def batch_normalization_moves_once(b):
    net = _normalized(b)
    net(b.x(4, 3), training=True)
    b.init()
    if not b.eager:
        b.tf.get_default_session().run(net.updates)
    return [round(float(v), 4) for v in b.value(net.non_trainable_weights[0].read_value())]


@row
def training_reaches_layers_that_were_not_given_it(b):
    class Silent(b.tfe.Network):
        def __init__(self):
            super().__init__()
            self.drop = self.track_layer(b.layers.Dropout(0.99999))

        def call(self, x, training=False):
            return self.drop(x)

    net = Silent()
    kept = [sum(map(sum, b.value(net(b.x(10, 10), training=t)))) for t in (True, False)]
    return [kept[0] != 100.0, kept[1] == 100.0]


@row
def input_shape(b):
    net = b.Two()
    net(b.x())
    return net.input_shape


@row
def output_shape(b):
    net = b.Two()
    net(b.x())
    return net.output_shape


@row
def count_params(b):
    net = b.Two()
    net(b.x())
    return net.count_params()


@row
def count_params_unbuilt(b):
    b.Two("n").count_params()


@row
def call_that_returns_none(b):
    class Nothing(b.tfe.Network):
        def call(self, x):
            return None

    return Nothing()(b.x())


@row
def call_that_is_not_overridden(b):
    return b.value(b.tfe.Network()(b.x(1, 2)))


@row
def network_call(b):
    net = b.My()
    net(b.x(1, 1))
    b.init()
    b.assign(net.variables[0], [[17.0]])
    return b.value(net(b.tf.constant([[2.0]])))


@row
def deepcopy_unbuilt(b):
    net = b.Two("n")
    twin = copy.deepcopy(net)
    return [twin.name, len(twin.layers), twin.layers[0] is net.layers[0]]


@row
def deepcopy_built(b):
    net = b.My("n")
    net(b.x(1, 1))
    twin = copy.deepcopy(net)
    twin.variables[0].assign([[5.0]])
    return [b.value(twin.variables[0]), b.value(net.variables[0]) == [[5.0]]]


@row
def object_based_checkpoint(b):
    net = b.Two()
    net(b.x())
    b.tf.train.Checkpoint(net=net).save(b.path("c"))


@row
def variables_do_not_interfere(b):
    one, two = b.My(), b.My()
    for net in (one, two):
        net(b.x(1, 1))
    b.init()
    for net, value in ((one, 1.0), (two, 2.0)):
        b.assign(net.variables[0], [[value]])
    return [b.value(one(b.x(1, 1))), b.value(two(b.x(1, 1)))]


@row
def calls_reuse_variables(b):
    net = b.Two()
    net(b.x())
    net(b.x(3, 8))
    return len(net.variables)


@row
def gradients_reach_all_variables(b):
    if b.eager:
        return None
    net = b.Two()
    loss = b.tf.reduce_sum(net(b.x()))
    return [g is not None for g in b.tf.gradients(loss, net.trainable_weights)]


@row
def sequential_of_layers(b):
    net = b.tfe.Sequential([b.layers.Dense(1, use_bias=False), b.layers.Dense(1, use_bias=False)])
    net(b.x(1, 1))
    b.init()
    b.assign(net.variables[0], [[3.0]])
    b.assign(net.variables[1], [[7.0]])
    return [b.value(net(b.tf.constant([[v]]))) for v in (1.0, 11.0)]


@row
def sequential_of_functions(b):
    net = b.tfe.Sequential([b.tf.identity, lambda v: v + 1.0])
    return [b.value(net(b.x(1, 2))), net.layers]


@row
def sequential_refuses_other_things(b):
    b.tfe.Sequential([3])


@row
def sequential_empty(b):
    return b.value(b.tfe.Sequential()(b.x(1, 2)))


@row
def sequential_gives_training_to_layers(b):
    net = b.tfe.Sequential([b.layers.Dropout(0.9999)])
    calls = (net(b.x(2, 2)), net(b.x(2, 2), training=False), net(b.x(2, 2), training=True))
    return [b.value(call) == [[1.0, 1.0], [1.0, 1.0]] for call in calls]


@row
def sequential_gives_training_where_it_is_accepted(b):
    seen = []

    def with_it(v, training):
        seen.append(training)
        return v

    def without(v):
        return v

    net = b.tfe.Sequential([with_it, without])
    net(b.x(), training=True)
    net(b.x(), training=False)
    return [seen, attempt(lambda: net(b.x()))["raises"][0]]


@row
def sequential_keeps_other_parameters_alone(b):
    def scaled(v, factor=2.0, training=None):
        return v * factor

    return b.value(b.tfe.Sequential([scaled])(b.x(1, 1), training=True))


@row
def add_returns_nothing_and_names_the_layer(b):
    net = b.tfe.Sequential(name="s")
    return [net.add(b.layers.Dense(1)), net.layers[0].name]
