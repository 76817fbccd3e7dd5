"""Data: official folds and labelled folders, the store, drawn tissue, training crops."""
