"""What may be an argument: names by the signatures, values by their annotation, settings by what the service takes.

Every operator and sensor applies these rules when the DAG is parsed: `known.py`, and `checked` of `arguments.py`.
Literals that a task is mapped over are checked like the arguments of any other task (`mapping.py`). Nothing here needs
a run of the DAG, or asks the service.
"""
