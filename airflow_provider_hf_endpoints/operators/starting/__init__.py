"""The start of an endpoint: create and resume, the start's budget, its choices of hardware, and its release on failure.

The use of a started endpoint is in `using/`, and requests to it are in `requesting/`.
"""
