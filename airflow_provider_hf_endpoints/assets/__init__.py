"""Airflow assets."""
