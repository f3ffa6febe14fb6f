"""The base class of objectives, a LightningModule, and its parts."""
