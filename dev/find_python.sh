#!/bin/sh
# Prints the Python that the environments are made with: the first of the candidates that runs and is 3.11 to 3.14.
# 3.11 and 3.12 come first because they are the ones that the oldest supported Airflow runs on. PYTHON=... overrides.
for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3.13 python3 python3.14 python; do
    if "$candidate" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
        # The real program, so that a shim or an activated environment cannot change under us.
        "$candidate" -c 'import os, sys; print(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))'
        exit 0
    fi
    if [ -n "${PYTHON:-}" ]; then
        echo "PYTHON=$PYTHON is no Python 3.11 to 3.14 with the venv module." >&2
        exit 1
    fi
done
echo "No Python 3.11, 3.12, 3.13 or 3.14 with the venv module found on PATH; name one with PYTHON=/path/to/python3." >&2
exit 1
