"""The hook: Airflow's connection in front of the control plane's client, and the costs of runs that Airflow keeps.

Requests, waits and decisions are not here but in `endpoints/`; what a task does with an endpoint is in `operators/`.
"""
