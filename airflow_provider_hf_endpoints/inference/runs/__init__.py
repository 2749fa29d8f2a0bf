"""One run of a job, put together from all the rooms: what is looked at before it, how its
endpoint is found, and how the parts that send its rows are joined.

Nothing here decides what is sent or written: those decisions stand in the rooms. `batch.py` is the only one above.
"""
