"""How many sensors wait at once: read by the DAGs, on their hosts, and by the test."""

FLEETS = 20  # DAGs
FLEET = 10  # sensors of each
