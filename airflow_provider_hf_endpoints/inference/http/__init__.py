"""One exchange with one endpoint: the interface `Transport`, and its two implementations.

The meaning of a status or a body is decided elsewhere (`engines/`).
"""
