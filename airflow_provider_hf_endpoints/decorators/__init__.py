"""`@task.hf_inference` and `@task.hf_batch`: functions that return what an endpoint gets.

Thin: each is an operator of `operators/requesting/` that calls a function before its own checks. Nothing about requests
or waits is here.
"""
