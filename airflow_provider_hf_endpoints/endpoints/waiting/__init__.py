"""What a look at an endpoint means for somebody who waits: one wait, and which looks serve many.

Who makes the looks for many is `endpoints/poller.py`, above the clients.
"""
