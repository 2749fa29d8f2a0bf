"""What operators of every kind share: how an attempt runs and waits, its bad end, and what Airflow is told of it.

Nothing here starts, updates or stops an endpoint or sends a request to a model: that is in the rooms beside this one.
"""
