"""From finished records to the files that a user reads: where they lie, what a line holds, how they take their place,
and what an earlier run left there.

What is done and not yet published is in `journal/`; outputs of shards are put together in `shards/`.
"""
