"""The running batch: which row is sent next, what its answer means, and when a row is sent again.

How many requests may be out at once is in `limit/`, the HTTP exchange in `http/`, and who joins these parts in `runs/`.
"""
