"""From the table of verbs to click commands, and from exceptions to exit statuses: 1 refused or failed, 2 usage."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence

import click

from inborn._internal.host.streams import open_missing_streams
from inborn._internal.host.talk import lead_nowhere, say_error
from inborn._internal.version import VERSION
from inborn.errors import InbornError, UnavailableError
from inborn_cli import GROUPS, VERBS, Group, Verb

__all__ = ["run"]

# What shells show for a process that a signal ended.
_INTERRUPTED = 130
_BROKEN_PIPE = 141


class MissingExtra(UnavailableError):
    """A verb needs what only an extra of the distribution brings."""


class _VerbGroup(click.Group):
    """A group whose commands stand in the table, and are imported when they are called."""

    def __init__(self, *, name: str, prefix: str, summary: str, example: str) -> None:
        super().__init__(name=name, help=f"{summary}\n\n\b\nExample:\n  {example}")
        self._prefix = prefix
        self._summary = summary

    def list_commands(self, ctx: click.Context) -> list[str]:
        names = (
            verb.path.removeprefix(self._prefix).split()[0] for verb in VERBS if verb.path.startswith(self._prefix)
        )
        return list(dict.fromkeys(names))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for verb in VERBS:
            if verb.path == self._prefix + cmd_name:
                return _load(verb, cmd_name)
        for group in GROUPS:
            if group.name == self._prefix + cmd_name:
                return _group(group)
        return None

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:  # of what the verb itself imports when it runs
            for verb in VERBS:
                if verb.path == f"{self._prefix}{ctx.invoked_subcommand}":
                    raise _missing(error, verb) from error
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List verbs by the table's words: click would import every one for its own."""
        summaries = {group.name: group.summary for group in GROUPS} | {verb.path: verb.summary for verb in VERBS}
        with formatter.section("Commands"):
            formatter.write_dl([(name, summaries[self._prefix + name]) for name in self.list_commands(ctx)])


def _group(group: Group) -> click.Command:
    return _VerbGroup(name=group.name, prefix=f"{group.name} ", summary=group.summary, example=group.example)


def _load(verb: Verb, name: str) -> click.Command:
    module_name, _, attribute = verb.target.partition(":")
    try:
        command = getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        raise _missing(error, verb) from error
    if not isinstance(command, click.Command):
        raise TypeError(f"{verb.target} is not a command")
    command.name = name
    return command


def _missing(error: ModuleNotFoundError, verb: Verb) -> Exception:
    """What to say for a module that is not there: whose extra it is, unless it is a module of ours."""
    name = (error.name or "").partition(".")[0]
    if not name or name.startswith("inborn"):
        return error
    return MissingExtra(
        f"'inborn {verb.path}' needs {name}, which is not installed", hint=f"pip install 'inborn[{verb.extra}]'"
    )


def _program() -> click.Group:
    program = _VerbGroup(
        name="inborn",
        prefix="",
        summary="Daemons and containers start up with an identity: attested, short-lived, rotated, revocable.",
        example="inborn up",
    )
    program.params.append(
        click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_print_version)
    )
    return program


def _print_version(ctx: click.Context, option: click.Parameter, is_wanted: bool) -> None:
    if is_wanted and not ctx.resilient_parsing:
        click.echo(f"inborn {VERSION}")
        ctx.exit()


def run(arguments: Sequence[str] | None) -> int:
    """Run one command line and give its exit status. Every error is caught here and nowhere else."""
    open_missing_streams()
    program = _program()
    if "_INBORN_COMPLETE" in os.environ:  # a shell that asks what could follow; click knows the answer
        program.main(prog_name="inborn")
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        # Not main(): it prints an empty line on Ctrl-C, and makes of a broken pipe what it will.
        with program.make_context("inborn", words, auto_envvar_prefix="INBORN") as context:
            program.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.UsageError as error:
        _say_usage(error)
        return 2
    except click.ClickException as error:
        say_error(_sentence(error.format_message()))
        return 1
    except InbornError as error:
        say_error(error.message, error.hint)
        return 1
    except BrokenPipeError:  # whoever read our output has gone
        lead_nowhere(sys.stdout)
        return _BROKEN_PIPE
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except UnicodeEncodeError as error:
        say_error(f"not UTF-8: {str(error.object)[:100]!a}", "arguments, variables and paths that are sent on must be")
        return 2
    except OSError as error:
        if error.filename is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EFBIG):
            lead_nowhere(sys.stdout)  # most likely it is what cannot be written to
        say_error(_os_error_text(error))
        return 1
    except Exception as error:
        _say_bug(error)
        return 1
    return 0


def _say_usage(error: click.UsageError) -> None:
    if type(error).__name__ == "NoArgsIsHelpError":  # of click 8.2 and later; a group without a verb
        click.echo(error.ctx.get_help() if error.ctx is not None else "", err=True)
        return
    if isinstance(error, click.BadParameter) and isinstance(error.__cause__, InbornError):
        say_error(_sentence(error.format_message()), error.__cause__.hint)
        return
    where = error.ctx.command_path if error.ctx is not None else "inborn"
    say_error(_sentence(error.format_message()), f"{where} --help")


def _say_bug(error: Exception) -> None:
    if os.environ.get("INBORN_DEBUG"):
        traceback.print_exc()
    say_error(f"internal: {type(error).__name__}: {error}", "INBORN_DEBUG=1 shows where")


def _os_error_text(error: OSError) -> str:
    reason = (error.strerror or str(error)).lower()
    return f"{error.filename}: {reason}" if error.filename is not None else reason


def _sentence(text: str) -> str:
    """Click's sentence as one of ours: one line, lower case, without a full stop."""
    text = " ".join(text.split()).removesuffix(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
