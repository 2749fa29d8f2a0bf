"""The control plane: what the service says, what may be asked of it, and the clients that ask. No Airflow import."""
