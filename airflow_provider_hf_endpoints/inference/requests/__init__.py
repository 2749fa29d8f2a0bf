"""From a row to its request: templates, OpenAI Batch lines, structured output. Pure, except `schema_process.py`.

The routes and bodies of engines are in `engines/`. What happens to an answer is in `output/`.
"""
