"""The state and the decisions of the emulated service: its endpoints, their states, hardware, prices. No HTTP."""
