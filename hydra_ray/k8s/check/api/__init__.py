"""What the API server refuses in Kubernetes' own kinds beyond their schemas."""
