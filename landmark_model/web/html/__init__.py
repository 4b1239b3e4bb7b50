"""Parts of the page as HTML: pure functions of what they show."""
