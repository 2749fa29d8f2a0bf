"""What starts an endpoint: create and resume, the start's budget, its choices of hardware, its release at a bad end.

What uses the endpoint then is in `using/`, and what sends requests to it in `requesting/`.
"""
