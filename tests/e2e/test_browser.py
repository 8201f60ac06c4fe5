"""The browser runs scripts and shows what a page says."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

PAGE = "<button onclick=\"this.textContent = 'said ' + 1e3.toString()\">say</button>"


@pytest.mark.e2e
def test_a_click_runs_the_script_of_a_page(chromium: Browser) -> None:
    with chromium.new_context() as context:
        page = context.new_page()
        page.set_content(PAGE)
        page.get_by_role("button", name="say").click()
        expect(page.get_by_role("button")).to_have_text("said 1000")
