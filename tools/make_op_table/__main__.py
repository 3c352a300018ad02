"""Merges op registries printed by ``dump.py`` into ``graphrev/analysis/op_table.json``.

Usage: python -m tools.make_op_table OLD.json NEW.json

The first file is TensorFlow 1.15's registry, the second 2.21's. Where both know an op the newer
signature is kept: later arguments are only ever typed by attributes with defaults, which a graph
from 1.x then lacks. An op is stateful if either says so. One op a line, so that a diff can be read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parents[2] / "graphrev" / "analysis" / "op_table.json"


def main(old_path: str, new_path: str) -> None:
    """Writes the table."""
    old = json.loads(Path(old_path).read_text())
    new = json.loads(Path(new_path).read_text())
    lines = [
        f"{json.dumps(name)}: {json.dumps(_entry(old['ops'].get(name), new['ops'].get(name)))}"
        for name in sorted({*old["ops"], *new["ops"]})
        if not name.startswith("_")
    ]
    head = json.dumps([old["version"], new["version"]])
    TABLE.write_text(f'{{"versions": {head}, "ops": {{\n' + ",\n".join(lines) + "\n}}\n")


def _entry(old: dict[str, Any] | None, new: dict[str, Any] | None) -> list[Any]:
    """``[known to (1 old, 2 new, 3 both), stateful, inputs, outputs, type defaults]``."""
    known = (1 if old else 0) | (2 if new else 0)
    latest = new or old
    assert latest is not None
    stateful = any(op["stateful"] for op in (old, new) if op)
    return [known, int(stateful), latest["inputs"], latest["outputs"], _type_defaults(latest)]


def _type_defaults(op: dict[str, Any]) -> dict[str, int]:
    """Defaults of attributes that decide an argument's type or number (AttrValue fields 3, 6)."""
    found: dict[str, int] = {}
    for name, attr in op["attrs"].items():
        raw = bytes.fromhex(attr.get("default", ""))
        if attr["type"] in ("type", "int") and len(raw) == 2 and raw[0] in (0x18, 0x30):
            found[name] = raw[1]
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
