"""What makes the use of an endpoint by a group of tasks: acquire, the lease that others see, release after the work.

The start in between is in `starting/`; what a lease is and how it is kept, in `leases/` of the package.
"""
