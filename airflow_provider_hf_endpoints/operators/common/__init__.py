"""What all operators share: how an attempt runs, waits and fails, and what it reports to Airflow.

Nothing here starts, updates or stops an endpoint, or sends a request to a model. The folders beside this one do.
"""
