"""One run of a job, joined from all rooms: the checks before it, the discovery of
its endpoint, and the connection of the parts that send its rows.

What is sent or written is decided in the other rooms. Only `batch.py` and `run.py` are above.
"""
