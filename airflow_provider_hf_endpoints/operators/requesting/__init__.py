"""What sends requests to a model: one call, a batch, the shards of one. Nothing here changes an endpoint but a batch
whose budget is spent.

How rows are sent is in `inference/`.
"""
