"""Apache Airflow provider for Hugging Face Inference Endpoints.

`endpoints/` is the control plane, `inference/` the data plane; neither imports Airflow. `hooks/`, `operators/`,
`sensors/`, `triggers/` and `links/` translate between them and Airflow. `emulator/` is a local service with the same
API. The files here are leaves that several folders need, and the command. Nothing here has a rule of one folder alone.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
