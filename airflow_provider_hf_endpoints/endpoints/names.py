"""Which names of endpoints and namespaces the service takes, and what was probably meant by another one."""

from __future__ import annotations

import re

from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError

LONGEST_NAME = 32
_NAME = re.compile(r"[a-z0-9-]{1,32}")


def check_name(name: str, argument: str = "name") -> str:
    """`name` when the service would take it. Raises `InvalidArgumentError` otherwise, before any request."""
    if problem := name_problem(name):
        raise InvalidArgumentError(f"{argument}={name!r}: {problem}{'' if problem.endswith('?') else '.'}")
    return name


def name_problem(name: object) -> str | None:
    """Why the service would refuse `name`, and what to give instead; None for a valid name."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return None
    if not isinstance(name, str) or not name:
        return "the name of an endpoint is a text that must not be empty"
    if "://" in name:
        return "this is an address. Give the endpoint's name, as its page shows the name"
    namespace, slash, rest = name.partition("/")
    if slash and _NAME.fullmatch(rest):
        return f"the name of an endpoint has no namespace. Give {rest!r}, and namespace={namespace!r} beside the name"
    if slash:
        return (
            "the name of an endpoint has no '/', as the repository of a model has. Give the endpoint's name, as its "
            "page shows the name"
        )
    if len(name) > LONGEST_NAME:
        return (
            f"the name of an endpoint has at most {LONGEST_NAME} characters, and this one has {len(name)}. Shorten "
            "it; if you cut a generated name, append a hash of the full name so that names stay unique"
        )
    likely = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
    meant = f". Did you mean {likely!r}?" if likely else ""
    return f"the name of an endpoint consists of lower-case letters, digits and '-'{meant}".removesuffix(".")


def check_namespace(namespace: str) -> str:
    """`namespace` when it can be one."""
    if isinstance(namespace, str) and re.fullmatch(r"[A-Za-z0-9][\w.-]*", namespace):
        return namespace
    raise InvalidArgumentError(
        f"namespace={namespace!r} is not a valid user or organisation name. Give the name alone, such as "
        "'acme' of huggingface.co/acme."
    )
