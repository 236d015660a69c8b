"""The small world that the embedded model was trained on: its words, texts and tasks."""
