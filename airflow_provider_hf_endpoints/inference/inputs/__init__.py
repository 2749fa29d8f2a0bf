"""From input paths to lines: finding files, unpacking, reading formats, and checking the input before a row is sent.

What a line asks of an engine is in `requests/`.
"""
