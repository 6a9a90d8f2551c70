"""The command line of `sdg-checkpoints`."""

import argparse
from typing import NoReturn

from sdg.app.flags import parsing_error
from sdg.io.pretrained import ASKED, PROMPTS

__all__ = ["command_parser"]

FLAGS = ("--help", "--half", "--private")


class OneLineParser(argparse.ArgumentParser):
    """A parser that refuses a command line in one line, which ends with the right one."""

    def error(self, message: str) -> NoReturn:
        usage = " ".join(self.format_usage().split()).removeprefix("usage: ")
        self.exit(1, f"error: {parsing_error(message, FLAGS)} Write: {usage}\n")


def command_parser(description: str) -> OneLineParser:
    """The parser of `inspect`, `convert` and `push`.

    Arguments:
        description: for `--help`.
    """
    parser = OneLineParser(
        prog="sdg-checkpoints",
        description=description.replace("`", ""),
        epilog=(
            f"SETTING: {', '.join(f'{name}=…' for name in ASKED)}: what a state dict cannot tell, "
            "where no published family has its layout or you know better; "
            f"{', '.join(f'{name}=…' for name in PROMPTS)}: what a Stable Diffusion is given."
        ),
    )
    commands = parser.add_subparsers(dest="command", metavar="inspect|convert|push", required=True)
    inspect = commands.add_parser("inspect", help="say what a file is")
    convert = commands.add_parser("convert", help="write it in another format")
    push = commands.add_parser("push", help="give a folder to the Hugging Face hub")
    for command in (inspect, convert):
        command.add_argument(
            "path", metavar="FILE", help="a .pt, a .safetensors, a folder or owner/name on the hub"
        )
    convert.add_argument(
        "--half",
        action="store_true",
        help="store matrices and kernels in float16: half the size",
    )
    convert.add_argument(
        "out",
        metavar="OUT",
        help="what to write: FILE.safetensors, or a folder, which diffusers opens too if it is a "
        "denoiser's",
    )
    for command in (inspect, convert):
        command.add_argument("settings", nargs="*", metavar="SETTING")
    push.add_argument(
        "folder", metavar="FOLDER", help="of a trained part, of a whole pipeline, or of diffusers"
    )
    push.add_argument("name", metavar="owner/name", help="made if it is not there yet")
    push.add_argument("--private", action="store_true", help="make it for you alone")
    return parser
