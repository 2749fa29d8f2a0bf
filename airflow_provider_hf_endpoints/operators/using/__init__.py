"""The use of an endpoint by a group of tasks: acquire, the lease that others see, and release after the work.

The start in between is in `starting/`. Leases and their storage are in the package's `leases/`.
"""
