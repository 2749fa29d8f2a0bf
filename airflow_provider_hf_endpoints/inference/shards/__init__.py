"""One batch as several jobs: the plan before them, ids that none of them may share, and the merge of their outputs.

A single job knows its `Shard` (`job/`) and nothing of the plan.
"""
