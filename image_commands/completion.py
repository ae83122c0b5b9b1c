"""The command `completion`, and what a shell gets when it asks what may be typed next.

Owns which shells there are and where their lines go. The work is argcomplete's: the shell runs the
command itself, so that what is offered is always what it takes; what the arguments offer is in
completers.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from image_commands.completers import by_name
from image_commands.shared import OK, add_command

if TYPE_CHECKING:
    from rich.console import Console

_ASKED = "_ARGCOMPLETE"
"""The environment variable by which a shell asks."""
_WHERE = {
    "bash": 'put this line into ~/.bashrc:  eval "$(image-cli completion bash)"',
    "zsh": 'put this line at the end of ~/.zshrc:  eval "$(image-cli completion zsh)"',
    "fish": (
        "run once:  mkdir -p ~/.config/fish/completions && "
        "image-cli completion fish > ~/.config/fish/completions/image-cli.fish"
    ),
    "powershell": (
        "put this line into the file $PROFILE:  "
        "image-cli completion powershell | Out-String | Invoke-Expression"
    ),
}

_ZSH = """
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
%s
# What begins with ~ or $ only the shell can read: it would quote such an offer of the command's.
_image_cli() {
    if [[ $PREFIX == [~$]* ]]; then _files; else _python_argcomplete "$@"; fi
}
compdef _image_cli image-cli
"""
"""Lines about argcomplete's. A new ~/.zshrc has not started zsh's completion, which they need."""


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds `completion`; `common` has the options that every command takes."""
    told = "print what has a shell complete commands, options and names"
    completion = add_command(commands, common, "completion", told, "bash")
    completion.epilog = "\n".join(
        [str(completion.epilog), "", *(f"{name}: {where}" for name, where in _WHERE.items())]
    )
    completion.add_argument("shell", choices=tuple(_WHERE), help="the shell that it is for")
    completion.set_defaults(command=_completion)


def _completion(args: argparse.Namespace, console: Console) -> int:
    from argcomplete.shell_integration import shellcode

    code = shellcode(["image-cli"], shell=args.shell)
    print((_ZSH % code if args.shell == "zsh" else code).strip())
    print(f"# To have it in every {args.shell}, {_WHERE[args.shell]}")
    return OK


def complete(parser: argparse.ArgumentParser) -> None:
    """Answers a shell that asks, and ends the process; nothing when none does."""
    if _ASKED in os.environ:
        import argcomplete

        # Any callable will do, as for the arguments.
        own: Any = by_name
        argcomplete.autocomplete(parser, always_complete_options=False, default_completer=own)
