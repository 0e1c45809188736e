"""Label a data set in parts that any number of processes share."""
