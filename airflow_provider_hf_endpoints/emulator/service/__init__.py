"""What the emulated service knows and decides: its endpoints, their states, hardware, prices. No HTTP."""
