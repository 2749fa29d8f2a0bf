"""The requests of the control plane: one function per route, flows of several, and how a request becomes an answer or a
typed error."""
