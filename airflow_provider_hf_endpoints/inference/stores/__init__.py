"""Where a batch reads and writes, on a disk or an object store alike: paths, folders, whole files, and patience.

What the files hold is in `journal/` and `output/`.
"""
