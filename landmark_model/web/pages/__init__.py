"""The tabs of the page, one file each; `layout` puts them in order."""
