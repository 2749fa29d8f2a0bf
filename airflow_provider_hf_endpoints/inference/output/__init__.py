"""From finished records to the files that a user reads: their places, the form of a line, their publication,
and what an earlier run left there.

Finished rows that are not yet published are in `journal/`. `shards/` merges the outputs of shards.
"""
