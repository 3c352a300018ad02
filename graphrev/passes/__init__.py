"""The passes, by the name the command line knows them under."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from graphrev.passes.clean_scopes import CleanScopes
from graphrev.passes.mask import Mask
from graphrev.passes.recompute import Recompute
from graphrev.passes.reversible import Reversible
from graphrev.passes.shrink import Shrink
from graphrev.passes.strip_masks import StripMasks
from graphrev.pipeline import Pass

REGISTRY: Mapping[str, type[Pass[Any]]] = MappingProxyType(
    {kind.name: kind for kind in (Reversible, Recompute, Mask, StripMasks, Shrink, CleanScopes)}
)

__all__ = ["REGISTRY", "CleanScopes", "Mask", "Recompute", "Reversible", "Shrink", "StripMasks"]
