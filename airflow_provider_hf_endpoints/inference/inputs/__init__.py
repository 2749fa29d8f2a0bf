"""The input of a batch: which files it is, and their rows one after the other, whatever the files' format."""
