"""Fine-tuning of CLIP and SigLIP on labelled regions of images."""
