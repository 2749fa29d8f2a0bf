"""From input paths to rows: finding files, unpacking, reading formats, ids, and whether an input can be used at all.

What a row asks of an engine is in `requests/`. Nothing here knows a job.
"""
