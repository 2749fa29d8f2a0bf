"""One message for every package that is not installed: who needs what, and the command."""

from __future__ import annotations

import difflib

_NEAR = 0.5  # of `difflib`'s 1.0: schemes are short
#: Extras of this package that have another name than what they bring, in lower case (Parquet: `parquet`).
_EXTRAS = {"Google Cloud Storage": "gcs", "Azure Storage": "azure", "the Hub": "hub"}
#: What the schemes of paths stand for.
STORES = {
    "s3": "S3",
    "s3a": "S3",
    "gs": "Google Cloud Storage",
    "gcs": "Google Cloud Storage",
    "abfs": "Azure Storage",
    "abfss": "Azure Storage",
    "az": "Azure Storage",
    "adl": "Azure Storage",
    "wasb": "Azure Storage",
    "hf": "the Hub",
}


def missing_package(who: str, what: str) -> str:
    """`input_path s3://b/in.jsonl needs S3: pip install 'airflow-provider-hf-endpoints[s3]'`.

    :param who: what needs it
    :param what: what the package brings; see `extra_of`
    """
    return f"{who} needs {what}: pip install 'airflow-provider-hf-endpoints[{extra_of(what)}]'"


def extra_of(what: str) -> str:
    """The extra of this package that brings a store or a format."""
    return _EXTRAS.get(what, what.lower())


def missing_store(who: str, scheme: str) -> str:
    """The same of a path, whose scheme no installed package knows."""
    if scheme in STORES:
        return missing_package(who, STORES[scheme])
    near = difflib.get_close_matches(scheme.lower(), STORES, n=1, cutoff=_NEAR)
    meant = f" (did you mean {near[0]}://?)" if near else ""
    return (
        f"{who}: no installed package reads {scheme}://. Check the scheme of the path{meant}, or install Airflow's "
        "provider for this store."
    )
