"""The routes of the emulated control plane, and the emulator's own. Nothing here changes an endpoint by itself.

The endpoints' states and the effects of requests on them are in `service/`.
"""
