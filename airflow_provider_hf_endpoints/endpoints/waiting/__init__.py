"""What a look at an endpoint means for a wait, how one wait runs, and how one look serves many waits.

`endpoints/poller.py`, above the clients, makes the looks for many waits.
"""
