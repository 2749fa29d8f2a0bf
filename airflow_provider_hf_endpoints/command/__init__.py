"""The command for a batch from a shell: its options, its words, its exit status. Users run `batch.py` above it."""
