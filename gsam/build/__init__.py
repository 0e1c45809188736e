"""Names -> stages -> pipelines: reads recipes, finds weights, puts them on the device."""
