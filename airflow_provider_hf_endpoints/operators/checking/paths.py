"""Checks the paths of a batch when the DAG is parsed, for mistakes that their text shows. Reads no file.

Without these checks, a wrong path would be found when the endpoint already bills, or the batch would write to another
place than the author of the DAG means. The run checks the rest, and what templates have become.
"""

from __future__ import annotations

import os
import posixpath
import re
import warnings
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from airflow_provider_hf_endpoints._airflow import ResolveMixin, has_fs
from airflow_provider_hf_endpoints._packages import STORES, missing_store
from airflow_provider_hf_endpoints.inference.job.output_form import RESULT_SUFFIXES, suffix_of_results
from airflow_provider_hf_endpoints.operators.checking.kinds import is_template

_PATHS = frozenset({"input_path", "output_path"})
_PASSWORD = re.compile(r"(?<=://)[^/@]*:[^@]+(?=@)")  # `key:secret@`; a secret key of AWS may have slashes
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/*)")  # not `C:`, a drive
_AT = re.compile(r".*://([^/@]+)@")  # a connection; a container for `abfs://CONTAINER@ACCOUNT…`
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_IN_BRACES = re.compile(r"\{\s*([A-Za-z_][\w.]*)\s*\}")
_WEB = ("http", "https")
_PATTERN = "*?["


def check_path(name: str, value: Any) -> None:
    """Refuse a path, or one of a list, that cannot be meant.

    :raises ValueError: with the argument, its value, and what to use instead
    """
    if name not in _PATHS or isinstance(value, ResolveMixin):
        return
    several = isinstance(value, list | tuple)
    if several and not value:
        raise ValueError(f"{name} is an empty list. Name at least one file.")
    for index, path in enumerate(value if several else [value]):
        where = f"{name}[{index}]" if several else name
        _refuse_credentials(where, path)
        if (isinstance(path, str | os.PathLike) or hasattr(path, "protocol")) and not is_template(str(path)):
            text = str(path)
            if text.strip() or several:  # a single empty text has an error in `arguments.py`
                _check_text(where, text)
                if name == "output_path":
                    _check_output(text)


def check_apart(input_path: Any, output_path: Any) -> None:
    """Refuse an output that would replace its input, or that a later run would read as input.

    :raises ValueError: with both paths
    """
    given = input_path if isinstance(input_path, list | tuple) else [input_path]
    if not _is_known(output_path):
        return
    written = list(_files_of(_comparable(output_path)))
    for path in filter(_is_known, given):
        if _are_of_two_stores(path, output_path):
            continue
        read = _comparable(path)
        if read == _comparable(output_path) or any(_reads(read, each) for each in written):
            raise ValueError(
                f"output_path={str(output_path)!r} is the same as input_path={str(path)!r}, or inside it, so the "
                "output would replace the input, or a later run would read the output as input. Choose another "
                "output_path."
            )


def warn_of_shared_output(given: Mapping[str, Any], mapped: Mapping[str, Any]) -> None:
    """Warn of one output for mapped tasks with different inputs. All but the first would find another job's output.

    :param given: the arguments in `partial`
    :param mapped: the arguments in `expand`; the shards of one batch have one output
    """
    output, inputs = given.get("output_path"), mapped.get("input_path")
    if output is None or "shard" in mapped or not _is_known(output) or not isinstance(inputs, list | tuple):
        return
    if len(inputs) > 1:
        warnings.warn(
            f"output_path={str(output)!r} is the same for all {len(inputs)} mapped tasks, but an output has one "
            "writer, so all but the first will fail. Put the task into the path ('{{ ti.map_index }}'), or map "
            "output_path too: expand_kwargs([{'input_path': …, 'output_path': …}, …]).",
            stacklevel=3,
        )


def _refuse_credentials(where: str, path: Any) -> None:
    shown = _PASSWORD.sub("***", str(path))
    if not isinstance(path, ResolveMixin) and shown != str(path):
        raise ValueError(
            f"{where}={shown!r} contains a password, but Airflow stores and shows rendered paths. Put the "
            "credentials into a connection of Airflow, and name the connection in the path: s3://CONN_ID@BUCKET/…"
        )


def _check_text(where: str, text: str) -> None:
    given = f"{where}={text!r}"
    if not text.strip():
        raise ValueError(f"{given} is empty. Give a value.")
    if text != text.strip():
        raise ValueError(f"{given} begins or ends with a blank or a line break. Remove it.")
    if text[0] in "~$":
        raise ValueError(
            f"{given} begins with {text[0]!r}, which only a shell replaces. Write the whole path, or use "
            f"{'os.path.expanduser' if text[0] == '~' else 'os.path.expandvars'}(…) in the DAG."
        )
    if os.sep == "/" and _DRIVE.match(text):
        raise ValueError(f"{given} is a path of Windows, but tasks run on Linux. Write the path as the worker has it.")
    if found := _IN_BRACES.search(text):
        raise ValueError(
            f"{given} contains {found[0]!r}, which nothing replaces. For a template of Airflow, write "
            f"'{{{{ {found[1]} }}}}'; for a variable of Python, write f before the text."
        )
    _check_scheme(where, text)


def _check_scheme(where: str, text: str) -> None:
    given, found = f"{where}={text!r}", _SCHEME.match(text)
    if found is None:
        return
    scheme, slashes, rest = found[1], len(found[2]), text[found.end() :]
    if slashes < 2:
        if scheme.lower() in (*STORES, *_WEB):
            made = " (a pathlib.Path makes one slash of two: give a text)" if slashes else ""
            raise ValueError(f"{given} lacks '//' after {scheme}:{made}. Write '{scheme.lower()}://{rest}'.")
        return
    if scheme != scheme.lower():
        raise ValueError(f"{given} has its scheme in capitals. Write '{scheme.lower()}{text[len(scheme) :]}'.")
    if scheme in STORES and (slashes > 2 or not rest.partition("/")[0].rpartition("@")[2]):
        raise ValueError(f"{given} names no {_container(scheme)}. Write '{scheme}://{_example(scheme)}/…'.")
    if scheme not in STORES and not _is_readable(text, scheme):  # the workers alone may have a store's package
        raise ValueError(missing_store(f"{where} {text}", scheme))


def _is_readable(text: str, scheme: str) -> bool:
    """Whether the scheme is known here. The package that reads it may be installed on the workers alone."""
    from upath import UPath  # slow to import, and most paths have no scheme

    try:
        UPath(text)
    except ValueError:
        return has_fs(scheme)
    except ImportError:
        return True
    return True


def _container(scheme: str) -> str:
    return "repository" if scheme == "hf" else "container" if STORES[scheme].startswith("Azure") else "bucket"


def _example(scheme: str) -> str:
    return "datasets/USER/NAME" if scheme == "hf" else _container(scheme).upper()


def _check_output(text: str) -> None:
    given, scheme = f"output_path={text!r}", text.partition("://")[0] if "://" in text else ""
    if scheme in _WEB:
        raise ValueError(f"{given} is a web address, where no file can be written. Use a disk or an object store.")
    if scheme == "hf":
        raise ValueError(
            f"{given} is on the Hub, where each written file is a commit. Write to a disk or an object store, and "
            "upload the finished output."
        )
    name = posixpath.basename(text.rstrip("/"))
    if "*" in name:
        raise ValueError(f"{given} is a pattern, but an output is one file or one folder. Write its name without '*'.")
    if name in RESULT_SUFFIXES:
        raise ValueError(f"{given} is only the ending of a file's name. Write a name before it: 'results{name}'.")
    try:
        suffix = suffix_of_results(PurePosixPath(name), None)
    except ValueError as error:
        raise ValueError(f"{error}.") from None
    if suffix is not None and text.endswith("/"):
        raise ValueError(
            f"{given} ends with '/', as a folder, but {suffix} is the ending of a results file. Remove the '/', or "
            "choose a name of a folder without this ending."
        )


def _is_known(path: Any) -> bool:
    return not isinstance(path, ResolveMixin) and not is_template(str(path)) and bool(str(path).strip())


def _comparable(path: Any) -> tuple[str, str]:
    """Scheme and path of a file, the same for all spellings that differ in no name."""
    scheme, colon, rest = str(path).rpartition("://")
    if not colon or scheme in ("file", "local"):
        return "", posixpath.normpath(rest)
    container, _, key = rest.partition("/")
    return scheme, posixpath.normpath(f"{container.rpartition('@')[2]}/{key}")


def _are_of_two_stores(read: Any, written: Any) -> bool:
    """Whether two paths name two connections, or two containers of Azure. Names in two stores may be the same."""
    users = [_AT.match(str(path)) for path in (read, written)]
    return len({user[1] for user in users if user is not None}) > 1


def _files_of(output: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """The results and the errors of an output."""
    scheme, path = output
    suffix = suffix_of_results(PurePosixPath(path), None)
    if suffix is None:
        yield from ((scheme, f"{path}/{name}") for name in ("results-00000.jsonl", "errors.jsonl"))
    else:
        yield from ((scheme, path), (scheme, f"{path.removesuffix(suffix)}.errors.jsonl"))


def _reads(read: tuple[str, str], written: tuple[str, str]) -> bool:
    """Whether an input, which may be a folder or a pattern, includes a file."""
    folder, name = posixpath.split(read[1])
    inside, file = posixpath.split(written[1])
    if read == written:
        return True
    if read[0] != written[0] or file[0] in "._":  # names that a folder and a pattern leave out
        return False
    return read[1] == inside or (
        folder == inside and any(each in _PATTERN for each in name) and fnmatchcase(file, name)
    )
