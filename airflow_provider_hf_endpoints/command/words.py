"""Messages in the words of a shell: options in place of arguments of Python. Pure.

The messages of a batch name the arguments of `BatchJob`. They are translated here and nowhere else, at the edge, so
that a message has one text.
"""

from __future__ import annotations

import argparse
import ast
import json
import logging
import re
import shlex
from collections.abc import Mapping

#: Options whose argument has another name.
_NAMED_OTHERWISE = {"input": "input_path", "output": "output_path", "keep_column": "keep_columns"}
#: What follows a name that is also an ordinary word, if the name is meant.
_MEANT = r"(?=[=\['\"]|:? ['\"]| (?:and|contains?|has|have|is|are|must|names|needs|would)\b)"
_VALUE = re.compile(r"=(?:\"([^\"]*)\"|'([^']*)'|([\w.]*\w))")


def options_of(parser: argparse.ArgumentParser) -> dict[str, str]:
    """The option for each argument of a job that has one."""
    return {
        _NAMED_OTHERWISE.get(action.dest, action.dest): action.option_strings[-1]
        for action in parser._actions
        if action.option_strings
    }


class Translation:
    """Messages that name options.

    :param options: the option for each argument
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = options
        clear = "|".join(sorted((name for name in options if "_" in name), key=len, reverse=True))
        words = "|".join(sorted((name for name in options if "_" not in name), key=len, reverse=True))
        # Not in a path, a longer name or a quoted text, which are the user's own.
        self._names = re.compile(
            rf"(?<![\w/.?&'\"{{-])(?:(?P<clear>{clear})(?![\w/.'\"}}-](?!\s|$))"
            rf"|(?P<word>{words})(?:(?==)|(?=\[['\"]))|(?P<first>(?<!.)(?:{words})){_MEANT})",
            re.S,
        )

    def __call__(self, text: str) -> str:
        """The text with options."""
        translated, at = [], 0
        for match in self._names.finditer(text):
            if match.start() < at:
                continue
            option = self._options[match[0]]
            value, end = _value_at(text, match.end())
            translated += [text[at : match.start()], option if value in (None, "") else f"{option} {value}"]
            at = end
        return "".join([*translated, text[at:]])


def _value_at(text: str, start: int) -> tuple[str | None, int]:
    """The value that `=value` gives, as it is written in a shell, and where it ends; None if there is none."""
    if text[start : start + 2] in ("={", "=["):
        closing = "}" if text[start + 1] == "{" else "]"
        for end in (at + 1 for at, sign in enumerate(text) if at > start and sign == closing):
            try:
                return shlex.quote(json.dumps(ast.literal_eval(text[start + 1 : end]))), end
            except (ValueError, SyntaxError, TypeError):
                continue
    found = _VALUE.match(text, start)
    if found is None:
        return None, start
    if found[3] == "True":
        return "", found.end()
    quoted = found[1] if found[1] is not None else found[2]
    return found[3] if quoted is None else shlex.quote(quoted), found.end()


class TranslatedLog(logging.Formatter):
    """Lines of a log that name options."""

    def __init__(self, form: str, translation: Translation) -> None:
        super().__init__(form)
        self._translation = translation

    def formatMessage(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        record.message = self._translation(record.message)
        return super().formatMessage(record)
