"""What a request asks of its engine beside the task: what is refused before anything is sent, and what is seen to when
the answer comes.

Under which name an engine takes a parameter is in `parameters.py`, one room above.
"""
