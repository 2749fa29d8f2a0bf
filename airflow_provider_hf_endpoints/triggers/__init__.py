"""Airflow triggers: waits and watches in the triggerer. Nothing here decides what a look at an endpoint means.

`endpoints/waiting/` decides, and `waits.py` has the form in which a wait gets here and back to its task.
"""
