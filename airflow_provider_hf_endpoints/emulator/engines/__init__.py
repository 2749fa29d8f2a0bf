"""The engines behind the proxy: `echo` (deterministic) and `llamacpp` (a real model). Both implement `base.py`.

Nothing here decides who may call, or whether an endpoint runs: that is `proxy.py`. The client's view of engines is in
the package's `inference/engines/`, and shares no code with this folder.
"""
