"""The routes of the emulated control plane, and the emulator's own. What they do to an endpoint is in `service/`."""
