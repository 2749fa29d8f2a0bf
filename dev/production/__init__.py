"""Airflow as people run it: PostgreSQL, Redis, Celery, two of everything, each component a machine of its own."""
