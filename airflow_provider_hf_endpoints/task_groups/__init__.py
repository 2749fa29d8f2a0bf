"""Airflow task groups: the tasks of one use of an endpoint, and their dependencies. Known when the DAG is parsed.

Nothing here runs in a worker: what the tasks do is in `operators/using/` and `operators/starting/`.
"""
