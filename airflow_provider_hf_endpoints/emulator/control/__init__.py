"""The routes of the emulated control plane, and the emulator's own. Their effects on endpoints are in `service/`."""
