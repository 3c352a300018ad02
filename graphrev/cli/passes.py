"""``graphrev passes``: the passes there are and their options."""

from __future__ import annotations

import click

from graphrev.cli.options import json_flag, print_json


@click.command("passes")
@json_flag
def command(as_json: bool) -> None:
    """List the passes and their options."""
    from graphrev.passes import REGISTRY
    from graphrev.pipeline.spec import describe

    if as_json:
        print_json(
            {
                name: {
                    "summary": _first_line(kind),
                    "options": [
                        {"name": key, "takes": takes, "default": default}
                        for key, takes, default in describe(kind)
                    ],
                }
                for name, kind in REGISTRY.items()
            }
        )
        return
    for name, kind in REGISTRY.items():
        click.echo(f"{name}: {_first_line(kind)}")
        for key, takes, default in describe(kind):
            click.echo(f"    {key:<14} {takes} (default: {default})")


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]
