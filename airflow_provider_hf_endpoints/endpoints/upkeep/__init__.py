"""Care for running endpoints: the available hardware, who still uses an endpoint, and the release of unused ones.

Leases are not known here: the callers say who holds one.
"""
