"""Fine-tuning of promptable segmenters on masks: data to prompts, losses, scores."""
