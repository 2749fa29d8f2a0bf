"""What is durable of a running batch: records of finished rows, what a resume reads of them, and the output's lock.

Nothing here knows how a row is sent, or what the output looks like.
"""
