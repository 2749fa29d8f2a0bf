"""Reads and writes on a disk or an object store: paths, folders, whole files, and retries.

Nothing here knows the content of the files: `journal/` and `output/` define it.
"""
