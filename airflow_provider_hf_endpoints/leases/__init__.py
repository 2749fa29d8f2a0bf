"""Who uses an endpoint, so that the last one to leave switches it off. Who *owns* an endpoint is in `ownership.py`.

Nothing here sends a request to the service: the tasks that acquire and release are in `operators/using/`.
"""
