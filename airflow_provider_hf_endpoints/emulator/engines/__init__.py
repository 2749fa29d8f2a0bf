"""What answers behind the proxy: `echo` (made up, deterministic), `llamacpp` (a real model); the seam is `base.py`."""
