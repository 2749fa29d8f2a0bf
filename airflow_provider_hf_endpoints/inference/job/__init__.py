"""What was asked of a batch, what came of it, and what it cost: values.

No I/O but the budget's own small file. Nothing here knows how a row is sent, where a file of the output lies, or how a
batch is divided; `Shard` is only which part a job was given.
"""
