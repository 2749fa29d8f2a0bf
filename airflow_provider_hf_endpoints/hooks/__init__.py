"""The hook: Airflow's connection in front of the control plane's client."""
