"""Fine-tuning of OWL's heads on boxes with names."""
