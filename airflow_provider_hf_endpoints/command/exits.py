"""The exit status of a batch from a shell."""

ABORTED = 1
USAGE = 2
ROWS_FAILED = 3
STOPPED = 4
