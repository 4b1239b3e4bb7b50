"""A network on disk and on the Hugging Face Hub: its format, its card, how it is published."""
