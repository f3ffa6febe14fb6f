"""Steps that edit the training table: corruptions, resynthesis, generated pairs."""
