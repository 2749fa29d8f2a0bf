"""From input paths to rows: find files, unpack them, read their formats, check ids, and check that the input is valid.

The request for a row is made in `requests/`. Nothing here knows a job.
"""
