"""From a row to its request: templates, OpenAI Batch lines, structured output. Pure.

Which route and body an engine takes is in `engines/`; what happens to an answer is in `output/`.
"""
