"""The control plane: what the service says, what may be asked of it, and the clients that ask. No Airflow import.

Requests to a model are in `inference/`, and who uses an endpoint is in `leases/`.
"""
