"""One message for every package that is not installed: who needs what, and the command."""

from __future__ import annotations

#: Extras of this package, by what they bring.
EXTRAS = {"S3": "s3", "Google Cloud Storage": "gcs", "Azure Storage": "azure", "the Hub": "hub", "Parquet": "parquet"}
EXTRAS |= {"zstd": "zstd"}
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
    :param what: a key of `EXTRAS`
    """
    return f"{who} needs {what}: pip install 'airflow-provider-hf-endpoints[{EXTRAS[what]}]'"


def missing_store(who: str, scheme: str) -> str:
    """The same of a path, whose scheme no installed package knows."""
    if scheme in STORES:
        return missing_package(who, STORES[scheme])
    return (
        f"{who}: no installed package reads {scheme}://. Check the scheme of the path, or install Airflow's provider "
        "for this store."
    )
