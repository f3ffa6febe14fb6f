"""Generators and latent-space de-biasing: pairs of images that differ in one attribute alone."""
