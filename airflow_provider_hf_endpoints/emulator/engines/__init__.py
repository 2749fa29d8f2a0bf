"""The engines behind the proxy: `echo` (deterministic) and `llamacpp` (a real model). Both implement `base.py`."""
