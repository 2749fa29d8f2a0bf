"""One batch as several jobs: the plan, the ids that must be unique across jobs, and the merge of their outputs.

A single job knows its `Shard` (`job/`), not the plan.
"""
