"""Label Studio's protocol of model back ends: pre-labelling, words and clicks in its editor."""
