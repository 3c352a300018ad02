"""The generated page says what the table says."""

from tools.make_rejections import PAGE, page


def test_page_of_rejection_codes_is_up_to_date() -> None:
    assert PAGE.read_text() == page()
