"""Reads manifests: files, folders and plain kustomizations, into objects that belong together."""
