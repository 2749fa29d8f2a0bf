"""The sending of a batch: which row is sent next, what its answer means, and when a row is sent again.

How many requests may be in flight is in `limit/`, the HTTP exchange in `http/`, and what joins these parts in `runs/`.
"""
