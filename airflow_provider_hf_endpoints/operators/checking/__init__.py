"""What an argument may be, held when the DAG is read: values by their annotation, settings by what the service takes.

Texts are understood in `common/arguments.py`, which every operator's arguments go through.
"""
