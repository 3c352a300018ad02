"""The codes of what keeps channels where they are (:mod:`graphrev.analysis.channels`)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from graphrev.analysis.channels import BlockKind
from graphrev.pipeline.rejection import Code

CHANNEL_CODES: Mapping[BlockKind, Code] = MappingProxyType(
    {
        "fed": Code.CHANNELS_FED,
        "fetched": Code.CHANNELS_FETCHED,
        "opaque": Code.CHANNELS_OPAQUE,
        "mixed": Code.CHANNELS_MIXED,
        "opted_out": Code.OPTED_OUT,
    }
)
