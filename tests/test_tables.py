"""Tables as HTML; sorting and filtering are tested in the browser."""

from landmark_model.web.html.tables import table


def test_a_table_has_heads_to_click_and_a_row_each():
    shown = table(["Photo", "Sure, %"], [["a.jpg", 99.5], ["b.jpg", None]], "Photos", "de")
    assert shown.count('<th scope="col"><button>') == 2 and shown.count("<tr>") == 3
    assert '<td>a.jpg</td><td class="number">99.5</td>' in shown
    assert '<td>b.jpg</td><td class="number"></td>' in shown
    assert 'aria-label="Photos"' in shown and "Filtern" in shown


def test_nothing_in_a_table_can_be_mistaken_for_html():
    shown = table(["<i>"], [["<script>"]], '"><b>', "en")
    assert not [tag for tag in ("<i>", "<script>", "<b>") if tag in shown]
