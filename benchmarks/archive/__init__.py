"""What scoring an archive costs."""
