"""``Network``: layers composed into a layer that lists, names and saves their variables."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NoReturn, TypeVar

from graphrev.layers.network import legacy, naming
from graphrev.layers.network.errors import (
    NetworkAttributeError,
    NetworkNotImplementedError,
    NetworkStateError,
    NetworkTypeError,
    NetworkValueError,
)
from graphrev.layers.network.legacy import LegacyLayer, Tensor, Variable
from graphrev.layers.network.recomputing import recompute_calls
from graphrev.layers.network.training import training_everywhere, training_in

LayerT = TypeVar("LayerT", bound=LegacyLayer)


class Network(LegacyLayer):
    """A layer made of layers, each of which is handed to :meth:`track_layer` and then called.

    Same names, scopes, variables and errors as ``tf.contrib.eager.Network`` of TensorFlow 1.15, in
    graph mode and in eager mode, over ``tf.compat.v1.layers`` (tf_keras) and
    ``tensorflow.python.layers``. Variables are always resource variables.

    Subclasses override ``call(self, inputs, ...)``; without it the Network returns its input.
    A layer that is used but not tracked runs, and its variables are not listed or saved.
    """

    # Read by AutoGraph (autograph/impl/api.py): converted code calls a Network as it is, like any
    # layer; the base class has what the subclass wrote in ``call`` converted.
    autograph_info__: ClassVar[dict[str, Any]] = {}

    def __init__(self, name: str | None = None, *, recompute: bool = False) -> None:
        """Makes a Network without layers.

        Args:
          name: Unique among the layers of the Network that tracks this one, or, if none does, in
            the variable scope that is open now. Empty or ``None``: made from the class name when
            the Network is tracked or first called.
          recompute: Whether the backward pass recomputes each tracked layer; graph mode only. A
            Network that it tracks is recomputed as one.

        Raises:
          NetworkValueError: ``name`` has a slash in it or is a ``VariableScope``. A name that is
            taken is reported by the first call.
        """
        if legacy.is_variable_scope(name):
            raise NetworkValueError(
                "VariableScopes are not valid Network names. Make the Network inside the scope "
                "and give it a plain name."
            )
        if name is not None and "/" in name:
            raise NetworkValueError(
                f"Forward slashes ('/') are not allowed in Network names. Rename '{name}'."
            )
        super().__init__(name=name)
        self._recompute = recompute
        self._layers: list[Any] = []
        self._owned_layers: dict[str, LegacyLayer] = {}
        self._non_network_sublayers: list[LegacyLayer] = []
        self._sub_layer_name_uids: dict[Any, int] = collections.defaultdict(int)
        self._first_parent: Callable[[], Any] | None = None
        self._default_parent_variable_scope = legacy.tf1.get_variable_scope()
        # The live record: a scope that is opened after this line takes its name, too.
        self._variable_scope_counts_on_init = legacy.opened_scope_counts()

    def _init_set_name(self, name: str | None, *_: Any, **__: Any) -> None:
        # Called by the base class, which would number an anonymous layer at once.
        self._name = name
        self._base_name = None

    def _finalize_name(self, parent_network: Network | None = None) -> None:
        naming.settle_network(self, parent_network)

    def _set_scope(self, scope: Any = None) -> None:
        # Called by the base class before every call.
        if self._scope is not None:
            return
        if scope is not None:
            raise NetworkValueError(
                "Networks may not be created with explicit scopes. Make the Network inside the "
                "variable_scope instead; its variables then start with that scope's name."
            )
        naming.open_network_scope(self)

    @property
    def name(self) -> str:
        """The final name; for a Network of no other Network it includes the outer scopes.

        Raises:
          NetworkValueError: The Network is anonymous and was neither tracked nor called yet.
        """
        if self._name is None:
            raise NetworkValueError(
                "The network does not yet have a final name, but a name was requested for it. It "
                "gets one when another Network tracks it, or when it is first called; or pass "
                "name= to its constructor."
            )
        return self._name

    @property
    def scope_name(self) -> str:
        """The full name of the variable scope, without a slash at the end.

        Raises:
          ValueError: The Network has not been called yet.
        """
        if self._scope is None:
            _ = self.name
        return super().scope_name

    def track_layer(self, layer: LayerT) -> LayerT:
        """Adds ``layer`` to this Network and returns it.

        The first Network that tracks an unbuilt layer owns it: it names the layer and its
        variables. A second Network that tracks it shares both.

        Raises:
          NetworkStateError: ``__init__`` of this Network was not called first.
          NetworkTypeError: ``layer`` is not a ``tf.layers`` layer (``tf.keras`` layers are not).
          NetworkValueError: This Network owns another layer of that explicit name.
        """
        if "_non_network_sublayers" not in vars(self):
            raise NetworkStateError(
                "Need to call Network.__init__ before adding layers. Put "
                "super().__init__() first in the constructor."
            )
        if not legacy.is_legacy_layer(layer):
            raise NetworkTypeError(
                f"Network.track_layer() passed type {type(layer)}, not a tf.layers.Layer. Use a "
                "layer of tf.compat.v1.layers or a Network."
            )
        layer._use_resource_variables = True
        if self._recompute:
            recompute_calls(layer)
        if isinstance(layer, Network):
            layer._finalize_name(self)
        elif not layer.built:
            naming.adopt_layer(self, layer)
            self._non_network_sublayers.append(layer)
        if layer.built or naming.owner_of(layer) is not self or self._owns_now(layer):
            self._layers.append(layer)
        return layer

    def _owns_now(self, layer: LegacyLayer) -> bool:
        """Enters ``layer`` under its name; false if it was entered before."""
        if layer.name not in self._owned_layers:
            self._owned_layers[layer.name] = layer
            return True
        if self._owned_layers[layer.name] is layer:
            return False
        raise NetworkValueError(
            f"Attempt to add two Layers with the name '{layer.name}' to the same Network. "
            "Rename one of them."
        )

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """The tracked layer of that name (the first one), or at that position.

        Raises:
          NetworkValueError: Both or neither were given, or there is no such layer.
        """
        if index is None:
            return self._layer_named(name)
        if name is not None:
            raise NetworkValueError("Exactly one of 'index' or 'name' must be provided, not both.")
        if not -len(self._layers) <= index < len(self._layers):
            raise NetworkValueError(
                f"Was asked to retrieve layer at index {index} but model only has "
                f"{len(self._layers)} layers."
            )
        return self._layers[index]

    def _layer_named(self, name: str | None) -> Any:
        if not name:
            raise NetworkValueError("Provide either a layer name or layer index.")
        for layer in self._layers:
            if layer.name == name:
                return layer
        raise NetworkValueError(
            f"No such layer: {name}. Network has {[layer.name for layer in self._layers]}."
        )

    @property
    def layers(self) -> list[Any]:
        """The tracked layers, in the order in which they were tracked."""
        return self._layers

    @property
    def weights(self) -> list[Variable]:
        """All variables, layer by layer; those of a layer tracked twice come twice."""
        return _join(layer.weights for layer in self._layers)

    @property
    def trainable_weights(self) -> list[Variable]:
        """The variables that training changes, layer by layer."""
        return _join(layer.trainable_weights for layer in self._layers)

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The variables that training leaves alone (moving averages, say), layer by layer."""
        return _join(layer.non_trainable_weights for layer in self._layers)

    @property
    def losses(self) -> list[Tensor]:
        """The losses of the layers; in eager mode regularizers are evaluated at each access."""
        return _join(layer.losses for layer in self._layers)

    @property
    def updates(self) -> list[Any]:
        """The update ops of the layers, each once; none in eager mode, where they have run."""
        return list({id(op): op for op in _join(layer.updates for layer in self._layers)}.values())

    @property
    def trainable(self) -> bool:
        """Always true: whether a layer is trained is said to each layer."""
        return True

    @trainable.setter
    def trainable(self, value: bool) -> None:
        if not value:
            raise NetworkAttributeError(
                "cannot mark Network as not trainable. Set trainable on its layers before they are "
                "called, or pass var_list to the optimizer."
            )

    def add_variable(self, *_: Any, **__: Any) -> NoReturn:
        """Not offered.

        Raises:
          NetworkStateError: Always.
        """
        raise _not_supported("add_variable not")

    def add_loss(self, *_: Any, **__: Any) -> NoReturn:
        """Not offered.

        Raises:
          NetworkStateError: Always.
        """
        raise _not_supported("add_loss is not")

    def _gather_saveables_for_checkpoint(self) -> NoReturn:
        raise NetworkNotImplementedError(
            "tfe.Network does not support object-based checkpointing. Use "
            "save_network_checkpoint(network, path), or a tf.compat.v1.train.Saver on "
            "network.variables."
        )

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls ``call`` inside the Network's variable scope, which the first call creates."""
        training = training_in(self.call, (inputs, *args), kwargs)
        with training_everywhere(self, inputs, training):
            return super().__call__(inputs, *args, **kwargs)


def _join(parts: Iterable[Iterable[Any]]) -> list[Any]:
    return [item for part in parts for item in part]


def _not_supported(method: str) -> NetworkStateError:
    return NetworkStateError(
        f"{method} supported in Network class yet. Please file an issue if this is important to "
        "you, or put it in a layer of your own and track that."
    )
