"""The ``graphrev`` command.

Exit codes: 0 done; 1 a difference was found; 2 wrong usage; 3 invalid input; 4 an internal fault.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys

import click

from graphrev import __version__
from graphrev.errors import GraphrevError, printable

COMMANDS = {
    "passes": "the passes there are and their options",
    "inspect": "what would be rewritten, what not and why, the predicted peak",
    "rewrite": "rewrite a graph",
    "verify": "run two graphs and compare them",
    "checkpoint": "checkpoints of a masked graph: dense, masked, how sparse",
    "sensitivity": "the loss as kernels are pruned one at a time",
    "show": "print a graph in the text notation",
    "diff": "what differs between two graphs",
    "view": "show one or two graphs in Model Explorer (needs graphrev[view])",
    "git-config": "let git compare graphs as graphs",
    "reduce": "shrink a graph for which a command fails",
}
_FOR_GIT = ("git-diff", "git-textconv")
"""Called by git, not by people: in no list."""
_DEBUG = "GRAPHREV_DEBUG"
_LONGEST = 4000
"""Characters of a message at most."""


class LazyGroup(click.Group):
    """Loads a command's module when the command is called; ``--help`` loads none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order they are documented."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, from ``graphrev.cli.<name>``."""
        if cmd_name not in COMMANDS and cmd_name not in _FOR_GIT:
            return None
        module = importlib.import_module(f"graphrev.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that ``args`` name.

        Raises:
            click.UsageError: there is none; the nearest name is given.
        """
        name = args[0]
        if name not in (*COMMANDS, *_FOR_GIT) and not name.startswith("-"):
            close = difflib.get_close_matches(name, COMMANDS, 1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(f"There is no command '{printable(name)}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Rewrites TensorFlow graphs: reversible blocks are recomputed in the backward pass."""


def main(args: list[str] | None = None) -> None:
    """Runs the command line and exits with its code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(_run(args))


def _run(args: list[str] | None) -> int:
    try:
        result = cli.main(args, prog_name="graphrev", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        _say(f"{error.format_message()}{_where(error)}")
        return error.exit_code
    except click.Abort:
        _say("interrupted; nothing was written.")
        return 130
    except GraphrevError as error:
        _say(str(error))
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:
        return _internal(error)


def _where(error: click.ClickException) -> str:
    """Which help says more about a wrong call."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f" See '{context.command_path} --help'." if context is not None else ""


def _say(message: str) -> None:
    """Prints one paragraph on standard error; what hostile names bring along stays inert."""
    line = " ".join(message.split())
    click.echo(f"graphrev: {printable(line, _LONGEST)}", err=True)


def _internal(error: Exception) -> int:
    """An error nobody foresaw: one line, the traceback on request."""
    if os.environ.get(_DEBUG):
        raise error
    said = printable(f"{type(error).__name__}: {error}", 300)
    _say(
        f"an internal fault: {said}. This is a bug in graphrev; nothing was written. Run again "
        f"with {_DEBUG}=1 for the traceback and report it."
    )
    return 4
