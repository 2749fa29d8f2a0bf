"""The command for a batch from a shell: its options, its words, its exit status. Nothing here runs or checks a batch.

`inference/` does. Users run `batch.py`, above this folder.
"""
