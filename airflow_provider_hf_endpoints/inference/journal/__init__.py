"""The durable state of a running batch: records of finished rows, their reading at a resume, and the output's lock.

Nothing here knows how a row is sent, or the form of the output.
"""
