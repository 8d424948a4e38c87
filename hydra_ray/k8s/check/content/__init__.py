"""What manifests have others run: Serve configs, command lines of hydra-ray, and the settings of both."""
