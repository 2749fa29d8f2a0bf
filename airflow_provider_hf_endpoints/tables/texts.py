"""The check that all texts of the tables' values share. Other values are checked where they are."""

from __future__ import annotations


def require_text(owner: str, name: str, value: object) -> None:
    """
    :param owner: the class whose argument it is
    :raises ValueError: the value is not a text, or is empty
    """
    if not isinstance(value, str):
        raise ValueError(f"{owner}: {name} is a {type(value).__name__}, but a text is expected. Give a text.")
    if not value.strip():
        raise ValueError(f"{owner}: {name}={value!r} is empty. Give a value.")
