"""Images, sounds and videos of rows: which file or bytes a value means, and how they come into a request.

Which form an engine takes is in `engines/asking/media.py`, and where a template has them in `requests/`, not here.
"""
