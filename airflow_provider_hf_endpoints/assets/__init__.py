"""Endpoints as Airflow assets: their URIs, and what Airflow's metadata names for them. Nothing here asks the service.

Tasks emit the events of assets in `operators/common/assets.py`, and triggers watch endpoints in `triggers/`.
"""
