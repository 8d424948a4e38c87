"""Reads records from the place that a setting names: files, folders and URIs, unpacked, JSON, CSV or Parquet."""
