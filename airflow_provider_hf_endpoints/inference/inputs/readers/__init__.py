"""One file for each format of input: how its files become rows. `formats.py`, one room above, lists the formats.

Finding files, unpacking and ids are in the room above. A reader is found by its name, and imported with its first file.
"""
