"""What a look at an endpoint means for a wait, how one wait runs, and how one look serves many waits.

Nothing here sends a request: the clients do, and `endpoints/poller.py`, above them, makes the looks for many waits.
"""
