"""Reads and writes on a disk or an object store: paths, folders, whole files, and retries.

The content of the files is defined in `journal/` and `output/`.
"""
