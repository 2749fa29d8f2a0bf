"""The requests of the control plane: one function per route, flows of several, and how a request becomes an answer or a
typed error.

Nothing here sends or waits: the clients above do. What an answer means for a wait is in `waiting/`.
"""
