"""Airflow as people run it: PostgreSQL, Redis, Celery, two of everything, each component on its own machine."""
