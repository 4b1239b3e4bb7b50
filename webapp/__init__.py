"""The rest of the app: what its page shows, made by functions that know nothing of gradio."""
