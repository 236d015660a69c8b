"""The command line itself: what every command does with errors, Ctrl-C, bars and help."""

import dis
import functools
import inspect
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core
from rich.markup import escape

from sadi_lens.apps._printing import console

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Find where a behaviour lives in a language model, scale exactly that, see what it did.",
)


LOST = "what was only computed is lost, and the same command begins anew"


def command(
    *examples: str, more: bool = False, stopped: str = LOST
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command of the app: what it refuses is one line and exit code 1, Ctrl-C 130, wrong usage 2.

    With ``SADI_LENS_TRACEBACK`` set, errors keep their traceback.

    Args:
        *examples: For its help.
        more: Options that it does not have are left in the context's ``args``.
        stopped: What Ctrl-C leaves besides whole files, in words.
    """

    def wrap(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> None:
            if not sys.stderr.isatty():
                os.environ.setdefault("TQDM_DISABLE", "1")  # no bars into files and pipes
            # A shell leaves `--out=~/x` as it is.
            paths = {
                name: one.expanduser() for name, one in kwargs.items() if isinstance(one, Path)
            }
            try:
                function(*args, **kwargs | paths)
            except KeyboardInterrupt as error:
                say(f"\ninterrupted; every file that was written is whole; {stopped}")
                raise typer.Exit(130) from error
            except typer.Exit:
                raise
            except Exception as error:
                if os.environ.get("SADI_LENS_TRACEBACK"):
                    raise
                console.print(f"[red]error:[/red] {escape(_one_line(error))}", highlight=False)
                raise typer.Exit(1) from error

        words = "Examples" if len(examples) > 1 else "Example"
        return app.command(
            cls=_Command,
            help=re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.getdoc(function) or ""),
            epilog=f"{words}: {'; '.join(f'sadi-lens {one}' for one in examples)}",
            context_settings={"allow_extra_args": more, "ignore_unknown_options": more},
        )(run)

    return wrap


class _Command(typer.core.TyperCommand):
    """A command that takes no empty value: of a variable that the shell does not know, it would be none at all."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = {name for one in self.params for name in (*one.opts, *one.secondary_opts)}
        for before, one in zip(("", *args), args, strict=False):
            is_joined = one.endswith("=") and one[:-1] in own
            if is_joined or (not one and (before in own or not before.startswith("-"))):
                name = one[:-1] or (before if before in own else "the argument")
                raise typer.BadParameter(
                    f"the value of {name} is empty; give one, or leave it out", ctx
                )
        return super().parse_args(ctx, args)


def _version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        console.print(f"sadi_lens {version('sadi_lens')}", highlight=False)
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and stop")
    ] = False,
) -> None:
    """Find where a behaviour lives in a language model, scale exactly that, see what it did."""


def _one_line(error: Exception) -> str:
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, ValueError | OSError | RuntimeError | ImportError) or _is_raised(error):
        return text
    return f"{type(error).__name__}: {text} (unforeseen; SADI_LENS_TRACEBACK=1 shows where)"


def _is_raised(error: Exception) -> bool:
    """Whether a TypeError is a refusal: a ``raise`` of this library, not an operation that failed."""
    trace = error.__traceback__
    if not isinstance(error, TypeError) or trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    is_ours = str(trace.tb_frame.f_globals.get("__name__")).startswith("sadi_lens.")
    return is_ours and code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def say(*lines: str) -> None:
    """Print lines as they are, unfolded; a bar that is drawn steps aside."""
    from tqdm import tqdm

    with tqdm.external_write_mode():
        for line in lines:
            console.print(escape(line), highlight=False, soft_wrap=True)
