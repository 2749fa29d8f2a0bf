"""One exchange with one endpoint: the seam `Transport`, and the two transports behind it.

What a status or a body means is not its concern.
"""
