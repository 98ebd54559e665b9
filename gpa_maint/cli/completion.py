"""The command `git gpa completion`."""

from __future__ import annotations

import os

from gpa_maint.cli.parser import Parser, new_parser
from gpa_maint.cli.ui import put
from gpa_maint.model.json import to_json
from gpa_maint.model.setup import Completion

SHELLS = ("bash", "zsh", "fish")


def main(options: list[str]) -> int:
    made = parser()
    args = made.parse_args(options)
    if args.object_dir is not None:
        made.error("--object-dir: completion is the same for every repository")
    found = Completion(args.shell, read_script(args.shell))
    put(to_json(found) if args.json else found.script.removesuffix("\n"), exact=True)
    return 0


def read_script(shell: str) -> str:
    """Return the script that completes `git gpa` in a shell, through the shell's completion for git."""
    with open(os.path.join(os.path.dirname(__file__), "shells", shell), encoding="utf-8") as file:
        return file.read()


def parser() -> Parser:
    made = new_parser(
        "completion",
        "Print what makes a shell complete verbs and options, through its completion for git itself:\n\n"
        "  bash   git gpa completion bash >~/.local/share/bash-completion/completions/git-gpa\n"
        '         or in ~/.bashrc, after git\'s own: eval "$(git gpa completion bash)"\n'
        "  zsh    git gpa completion zsh >~/.zfunc/_git-gpa\n"
        "         with 'fpath+=(~/.zfunc)' in ~/.zshrc, before compinit\n"
        "  fish   git gpa completion fish >~/.config/fish/conf.d/git-gpa.fish",
    )
    made.add_argument("shell", choices=SHELLS, metavar="bash|zsh|fish", help="the shell")
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
