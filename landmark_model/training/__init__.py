"""From photos in folders to a network: options, recipe, fit, evaluation, export."""
