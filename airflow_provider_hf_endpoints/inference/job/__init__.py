"""The settings of a batch, its results, and its cost: values.

No I/O except for the budget's small file. Nothing here knows how a row is sent, the paths of the output's files, or how
a batch is divided; a `Shard` only says which part a job has.
"""
