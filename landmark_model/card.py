def write_card(folder, path):
    path.write_text("x")
