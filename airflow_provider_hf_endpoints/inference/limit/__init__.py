"""How many requests may be in flight, and whether the endpoint takes any. Pure decisions on times and counts.

Nothing here sends.
"""
