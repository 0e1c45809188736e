"""SAM 2 on video: frames in order, memories of objects, and the words of its predictor."""
