"""The page of what was tried: rows of a run replace older ones, what did not run stays."""

import pytest
import reliability
from reliability import Scenario, update

PAGE = """# Title

<!-- faults -->
<!-- end -->

<!-- scenarios -->
<!-- end -->
The end.
"""


def row(name, outcome='passed', seen=(), table='faults', share=1.0):
    return Scenario(table, name, 'embedded', share, outcome, list(seen))


def test_rows_are_added_replaced_and_kept():
    page = update(PAGE, [row('a', seen=['1', '2']), row('b'), row('c', table='scenarios')], 'abc')
    assert '| a | embedded | passed | 1; 2 | abc, size 1 |' in page
    assert page.index('| c |') > page.index('<!-- scenarios -->') > page.index('| b |')
    page = update(page, [row('b', 'failed', share=0.1), row('a', 'skipped', ['no ROS 2'])], 'def')
    assert '| a | embedded | passed | 1; 2 | abc, size 1 |' in page
    assert '| b | embedded | failed |  | def, size 0.1 |' in page and page.count('| b |') == 1
    assert page.startswith('# Title\n\n<!-- faults -->\n') and page.endswith('The end.\n')
    assert update(page, [], 'ghi') == page


def test_tests_of_one_name_are_one_row_that_fails_with_any_of_them():
    page = update(PAGE, [row('a'), row('a', 'failed', ['x']), row('a', seen=['x'])], 'abc')
    assert '| a | embedded | failed | 2 of 3 variants passed; x | abc, size 1 |' in page


def test_what_was_never_run_says_why():
    page = update(PAGE, [row('d', 'skipped', ['no ROS 2'])], 'abc')
    assert '| d | embedded | skipped | no ROS 2 |  |' in page


@pytest.mark.parametrize(('share', 'size'), [(0.0, 5), (1.0, 100), (0.5, 50), (0.001, 5)])
def test_size_is_a_share_of_the_whole_and_no_less_than_in_a_test_run(share, size):
    assert row('a', share=share).size(small=5, full=100) == size


def test_the_page_has_a_place_for_each_table():
    page = reliability.PAGE.read_text(encoding='utf-8')
    for table in reliability.TABLES:
        assert page.count(f'<!-- {table} -->') == 1
