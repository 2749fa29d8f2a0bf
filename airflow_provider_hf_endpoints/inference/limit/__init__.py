"""How many requests may be in flight, and whether the endpoint accepts any. Pure decisions on times and counts.

Nothing here sends.
"""
