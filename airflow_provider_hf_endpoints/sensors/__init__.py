"""Airflow sensors: a wait for an endpoint that some other task or person starts. Nothing here starts an endpoint.

The decision of a wait is in `endpoints/waiting/`, and the wait without a worker in `triggers/`.
"""
