"""From the place that a setting names to records: files, folders and URIs, unpacked, in JSON, CSV or Parquet."""
