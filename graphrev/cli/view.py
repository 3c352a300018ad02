"""``graphrev view``: graphs in Google's Model Explorer, one or two side by side."""

from __future__ import annotations

import webbrowser

import click

from graphrev.cli.options import load_with_progress, naming
from graphrev.cli.progress import Stages


@click.command("view")
@click.argument("before", metavar="A")
@click.argument("after", metavar="[B]", required=False)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: a free one.")
@click.option("--no-open", is_flag=True, help="Print the address, open no browser.")
def command(before: str, after: str | None, port: int, no_open: bool) -> None:
    """Show the graph A, or A and B with what differs, in Model Explorer until Ctrl+C.

    It is served on 127.0.0.1 and asks no other machine for anything. Needs graphrev[view].
    """
    from graphrev import api
    from graphrev.cli.view_server import ViewServer, web_app
    from graphrev.diff.explorer import session_of_diff, session_of_graph

    folder = web_app()
    with Stages() as stages:
        with naming(before):
            first = load_with_progress(before, stages)
        if after is None:
            session = session_of_graph(first.graph)
        else:
            with naming(after):
                second = load_with_progress(after, stages)
            stages("comparing")
            session = session_of_diff(api.diff(first, second))
    server = ViewServer(session, folder, port)
    click.echo(f"Serving on {server.address}")
    click.echo("Ctrl+C stops it.", err=True)
    if not no_open:
        webbrowser.open_new_tab(server.address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)
    finally:
        server.stopping.set()
        server.server_close()
