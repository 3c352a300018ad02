"""What Network, Sequential and their checkpoints raise: upstream's types, graphrev's base class."""

from __future__ import annotations

from dataclasses import dataclass

from graphrev.errors import UsageError
from graphrev.layers.errors import (
    LayerNotImplementedError,
    LayerRuntimeError,
    LayerTypeError,
    LayerValueError,
)


class NetworkValueError(LayerValueError):
    """A name, an index or a checkpoint mapping cannot be used as asked."""


class NetworkTypeError(LayerTypeError):
    """Something that is not a ``tf.layers`` layer was given where one is needed."""


class NetworkStateError(LayerRuntimeError):
    """A method that Networks do not offer, or one called too early."""


class NetworkAttributeError(UsageError, AttributeError):
    """An attribute was set to a value that Networks do not allow."""


class NetworkNotImplementedError(LayerNotImplementedError):
    """Saving by object, which Networks have never had."""


@dataclass(frozen=True)
class NameConflict:
    """Two variables of one Network that a map function gives one name in the checkpoint."""

    network_name: str
    scope_name: str
    key: str
    first: str
    second: str

    def on_save(self, *, by_user_map: bool) -> NetworkValueError:
        """The error of ``save_network_checkpoint``."""
        return self._by_user_map("save") if by_user_map else self._by_default_map()

    def on_restore(self, *, by_user_map: bool) -> NetworkValueError:
        """The error of ``restore_network_checkpoint``, at once or when a variable is made."""
        return self._by_user_map("restore") if by_user_map else self._by_default_map()

    def _by_user_map(self, verb: str) -> NetworkValueError:
        return NetworkValueError(
            f"The map_func passed to {verb}_network_checkpoint for the Network "
            f"'{self.network_name}' resulted in two variables named '{self.key}' "
            f"('{self.first}' and '{self.second}'). map_func takes a variable's full name to its "
            "name in the checkpoint, when saving and when restoring: keep more of the full names, "
            "or rename layers, until every variable has a name of its own. "
            f"{self._whose_prefix()}"
        )

    def _by_default_map(self) -> NetworkValueError:
        return NetworkValueError(
            "The default checkpoint variable name mapping strategy for Network "
            f"'{self.network_name}' resulted in a naming conflict. Without the Network's prefix "
            f"'{self.scope_name}' there are two variables named '{self.key}' ('{self.first}' and "
            f"'{self.second}'). Pass the same map_func to save and restore, for instance "
            "`map_func=lambda name: name`, which keeps full names and therefore needs the same "
            f"Network name on both sides. {self._whose_prefix()}"
        )

    def _whose_prefix(self) -> str:
        return (
            f"Variables of this Network's own layers start with '{self.scope_name}/'; those of a "
            "layer that another Network tracked first start with that Network's prefix."
        )
