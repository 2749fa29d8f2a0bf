"""What Airflow's common-ai provider takes of this package: an endpoint as a model of its operators and decorators.

Nothing else of the package imports this room, and nothing here works without the extra `common-ai`.
"""
