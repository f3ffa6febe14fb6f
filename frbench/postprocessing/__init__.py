"""What is fitted after training, on held-out outputs of a trained model."""
