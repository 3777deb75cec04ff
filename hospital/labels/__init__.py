"""What becomes of an image after its answer: a row in the store of answers, and the label of its final report."""
