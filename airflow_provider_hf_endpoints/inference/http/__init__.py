"""One exchange with one endpoint: the seam `Transport`, and the two transports behind it.

The meaning of a status or a body is decided elsewhere (`engines/`).
"""
