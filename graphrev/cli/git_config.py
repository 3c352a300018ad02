"""``graphrev git-config``: makes git compare graphs as graphs."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click

from graphrev.errors import OutputError, UsageError, printable

_DRIVER = "diff.graphrev"
_ATTRIBUTES = ("*.pb diff=graphrev", "*.meta diff=graphrev")


@click.command("git-config")
@click.option("--enable/--disable", "enable", default=None, help="Switch it on or off.")
@click.option("--global", "everywhere", is_flag=True, help="For all repositories of this user.")
def command(enable: bool | None, everywhere: bool) -> None:
    """Let git diff, git show and git log -p compare *.pb and *.meta files as graphs.

    --enable sets a diff driver and a text conversion in git's configuration (of this repository, or
    with --global of this user) and names the files in its attributes; no tracked file is touched.
    """
    if enable is None:
        raise UsageError("Say --enable or --disable.")
    scope = "--global" if everywhere else "--local"
    attributes = _attributes_file(everywhere)
    if enable:
        program = _program()
        _git("config", scope, f"{_DRIVER}.command", f"{program} git-diff")
        _git("config", scope, f"{_DRIVER}.textconv", f"{program} git-textconv")
    elif _is_set(scope):
        _git("config", scope, "--remove-section", _DRIVER)
    _write_attributes(attributes, enable=enable)
    state = "compares" if enable else "no longer compares"
    click.echo(f"git {state} *.pb and *.meta files as graphs ({printable(str(attributes))}).")


def _program() -> str:
    """How git is to call graphrev, quoted for a shell: git runs drivers through one."""
    found = shutil.which("graphrev")
    if found is not None:
        return shlex.quote(found)
    return f"{shlex.quote(sys.executable)} -m graphrev"


def _is_set(scope: str) -> bool:
    arguments = ["git", "config", scope, "--get", f"{_DRIVER}.command"]
    return subprocess.run(arguments, capture_output=True, check=False).returncode == 0


def _attributes_file(everywhere: bool) -> Path:
    if not everywhere:
        return Path(_git("rev-parse", "--git-path", "info/attributes"))
    arguments = ["git", "config", "--global", "--type=path", "--get", "core.attributesFile"]
    named = subprocess.run(arguments, capture_output=True, text=True, check=False).stdout.strip()
    return Path(named) if named else Path.home() / ".config/git/attributes"


def _write_attributes(file: Path, *, enable: bool) -> None:
    """Adds or takes out our lines, and leaves the others as they are."""
    from graphrev.io.writing import write_file

    try:
        old = file.read_text(encoding="utf-8") if file.exists() else ""
        file.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(f"Cannot change '{printable(str(file))}': {error}.") from None
    lines = [line for line in old.splitlines() if line.strip() not in _ATTRIBUTES]
    lines += _ATTRIBUTES if enable else ()
    new = "".join(f"{line}\n" for line in lines)
    if new != old:
        write_file(file, new.encode("utf-8"))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UsageError("There is no git on this machine.") from None
    if done.returncode:
        said = printable(" ".join(done.stderr.split()), 300)
        raise UsageError(f"git {arguments[0]} failed: {said}")
    return done.stdout.strip()
