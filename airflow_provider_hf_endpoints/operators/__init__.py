"""Airflow operators. The files here are the public names, and each folder is a room for one kind of operator.

Nothing here speaks HTTP: an operator asks the hook, and a wait without a worker is in `triggers/`.
"""
