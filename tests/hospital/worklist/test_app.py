"""Who sees the worklist, what is audited of it, and what hostile requests come to."""

from pathlib import Path

import pytest

from hospital.parts import Parts
from hospital.worklist.sessions import Sessions
from tests.hospital.worklist.rows import PASSWORD, Browser, add_study


@pytest.fixture
def browser(parts: Parts, tmp_path: Path) -> Browser:
    """Come to the worklist with one study in it."""
    add_study(parts, "1.1", "high")
    return Browser(parts, tmp_path)


def test_page_asks_for_a_login(browser: Browser) -> None:
    answer = browser.client.get("/worklist")
    assert (answer.status_code, answer.headers["location"]) == (303, "login")
    assert "Doe" not in answer.text


def test_login_leads_to_the_studies(browser: Browser) -> None:
    assert browser.log_in().headers["location"] == "worklist"
    assert "Doe, Jane" in browser.client.get("/worklist").text


@pytest.mark.parametrize(("name", "password"), [("reader", "wrong"), ("nobody", PASSWORD), ("", ""), ("reader", "")])
def test_wrong_login_does_not_tell_which_part_was_wrong(browser: Browser, name: str, password: str) -> None:
    answer = browser.log_in(name, password)
    assert answer.status_code == 401
    assert "Name or password is wrong." in answer.text
    assert browser.client.get("/worklist").status_code == 303


def test_form_without_its_token_logs_nobody_in(browser: Browser) -> None:
    browser.client.get("/login")
    assert browser.log_in(token="0" * 64).status_code == 403
    assert browser.log_in(token="").status_code == 403
    assert browser.client.get("/worklist").status_code == 303


def test_token_of_another_browser_is_of_no_use(browser: Browser, parts: Parts, tmp_path: Path) -> None:
    token = browser.form_token("/login")
    browser.client.cookies.clear()
    assert browser.log_in(token=token).status_code == 403


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}]
)
def test_form_of_another_site_is_refused(browser: Browser, headers: dict[str, str]) -> None:
    sent = {"name": "reader", "password": PASSWORD, "token": browser.form_token("/login")}
    assert browser.client.post("/login", data=sent, headers=headers).status_code == 403


def test_own_form_is_taken_with_its_origin(browser: Browser) -> None:
    sent = {"name": "reader", "password": PASSWORD, "token": browser.form_token("/login")}
    headers = {"origin": "http://127.0.0.1:11190", "sec-fetch-site": "same-origin"}
    assert browser.client.post("/login", data=sent, headers=headers).status_code == 303


def test_logout_needs_its_token_and_ends_the_session(browser: Browser) -> None:
    browser.log_in()
    assert browser.client.post("/logout", data={"token": "0"}).status_code == 403
    token = browser.form_token("/worklist")
    kept = dict(browser.client.cookies)
    assert browser.client.post("/logout", data={"token": token}).status_code == 303
    browser.client.cookies.update(kept)
    assert browser.client.get("/worklist").status_code == 303


def test_name_is_locked_after_failures_even_for_the_right_password(parts: Parts, tmp_path: Path) -> None:
    browser = Browser(parts, tmp_path, attempts=2)
    assert [browser.log_in("reader", "wrong").status_code for _ in range(2)] == [401, 401]
    answer = browser.log_in()
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "900")
    assert browser.client.get("/worklist").status_code == 303


def test_expired_session_shows_nothing(browser: Browser) -> None:
    browser.log_in()
    moment = [0.0]
    old = browser.access.sessions
    late = Sessions(60, 600, lambda: moment[0])
    late._open, late._secret = old._open, old._secret
    moment[0] = 1e12
    object.__setattr__(browser.access, "sessions", late)
    assert browser.client.get("/worklist").status_code == 303
    assert browser.client.get("/worklist.json").status_code == 401


@pytest.mark.parametrize("cookie", ["", "guess", "x" * 4000, "a; worklist-session=b"])
def test_made_up_session_is_nobodys(browser: Browser, cookie: str) -> None:
    assert browser.client.get("/worklist", headers={"cookie": f"worklist-session={cookie}"}).status_code == 303


def test_login_makes_a_new_session_whatever_cookie_came(browser: Browser) -> None:
    browser.client.cookies.set("worklist-session", "chosen-by-somebody", domain="127.0.0.1", path="/")
    assert "worklist-session=chosen" not in browser.log_in().headers["set-cookie"]
    assert browser.access.sessions.find("chosen-by-somebody") is None
    assert browser.client.get("/worklist").status_code == 200


def test_session_cookie_is_for_this_site_and_no_script(browser: Browser) -> None:
    set_cookie = browser.log_in().headers["set-cookie"].lower()
    assert "httponly" in set_cookie
    assert "samesite=lax" in set_cookie
    assert "secure" not in set_cookie


def test_cookies_are_secure_over_tls(parts: Parts, tmp_path: Path) -> None:
    browser = Browser(parts, tmp_path, scheme="https")
    answer = browser.log_in()
    cookie = next(one for one in answer.headers.get_list("set-cookie") if "worklist-session" in one)
    assert cookie.startswith("__Host-worklist-session=")
    assert "Secure" in cookie


def test_user_who_was_taken_out_is_out_at_once(browser: Browser) -> None:
    browser.log_in()
    browser.access.accounts._users.clear()
    assert browser.client.get("/worklist").status_code == 303


@pytest.mark.parametrize("path", ["/worklist", "/login", "/worklist.json", "/web/base.css", "/nothing"])
def test_answers_are_kept_nowhere_and_framed_by_nobody(browser: Browser, path: str) -> None:
    headers = browser.client.get(path).headers
    assert headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_json_is_for_who_is_logged_in(browser: Browser) -> None:
    assert browser.client.get("/worklist.json").status_code == 401
    browser.log_in()
    told = browser.client.get("/worklist.json").json()
    assert (told["total"], told["studies"][0]["study_uid"], told["studies"][0]["suspicion"]) == (1, "1.1", "high")


def test_json_is_for_who_holds_the_key(parts: Parts, tmp_path: Path) -> None:
    add_study(parts, "1.1", "high")
    browser = Browser(parts, tmp_path, key="secret", viewer="https://v.example/{study_uid}")
    assert browser.client.get("/worklist.json", headers={"authorization": "Bearer other"}).status_code == 401
    answer = browser.client.get("/worklist.json", headers={"authorization": "Bearer secret"})
    assert answer.json()["studies"][0]["viewer"] == "https://v.example/1.1"
    assert browser.client.get("/worklist", headers={"authorization": "Bearer secret"}).status_code == 303


def test_without_a_key_none_opens_it(browser: Browser) -> None:
    for given in ("Bearer ", "Bearer", "Basic Og=="):
        assert browser.client.get("/worklist.json", headers={"authorization": given}).status_code == 401


def test_login_and_failure_are_audited(browser: Browser) -> None:
    browser.log_in("reader", "wrong")
    browser.log_in()
    failed, passed = (line for line in browser.audited().splitlines() if "110114" in line)
    assert 'EventOutcomeIndicator="4"' in failed
    assert 'EventOutcomeIndicator="0"' in passed
    assert "110122" in passed
    assert 'UserID="reader"' in passed


def test_password_is_never_audited(browser: Browser) -> None:
    browser.log_in("reader", "hunter2hunter2")
    assert "hunter2" not in browser.audited()


def test_locked_out_attempt_is_a_serious_failure(parts: Parts, tmp_path: Path) -> None:
    browser = Browser(parts, tmp_path, attempts=1)
    browser.log_in("reader", "wrong")
    browser.log_in()
    assert browser.audited().count('EventOutcomeIndicator="8"') == 2


def test_view_is_audited_with_each_study_that_was_shown(browser: Browser) -> None:
    browser.log_in()
    browser.client.get("/worklist")
    query, record = browser.audited().splitlines()[-2:]
    assert 'csd-code="110112"' in query
    assert 'csd-code="110111"' in record
    assert 'ParticipantObjectID="1.1"' in record
    assert 'ParticipantObjectID="4711"' in record


def test_refresh_is_audited_only_with_what_is_new(browser: Browser, parts: Parts) -> None:
    browser.log_in()
    browser.client.get("/worklist")
    lines = len(browser.audited().splitlines())
    browser.client.get("/worklist", headers={"x-refresh": "1"})
    assert len(browser.audited().splitlines()) == lines
    add_study(parts, "1.2", "none")
    browser.client.get("/worklist", headers={"x-refresh": "1"})
    assert "1.2" in browser.audited().splitlines()[-1]


def test_nothing_is_shown_that_cannot_be_audited(browser: Browser) -> None:
    browser.log_in()
    for file in browser.trail.folder.iterdir():
        file.unlink()
    browser.trail.folder.rmdir()
    for path in ("/worklist", "/worklist.json"):
        answer = browser.client.get(path)
        assert answer.status_code == 503
        assert "Doe" not in answer.text


def test_line_break_in_a_name_makes_no_line_of_the_trail(browser: Browser) -> None:
    browser.log_in("x\r\n<85>1 forged", "wrong")
    assert len(browser.audited().splitlines()) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/web/../page.py", "/web/..%2fpage.py", "/web/%2e%2e/page.py", "/web//etc/passwd", "/web/login.html.jinja",
        "/web/base.css%00.svg", "/../../etc/passwd", "/worklist/../../etc/passwd", "/web/",
    ],
)  # fmt: skip
def test_path_leads_to_no_other_file(browser: Browser, path: str) -> None:
    answer = browser.client.get(path)
    assert answer.status_code == 404
    assert "import" not in answer.text


@pytest.mark.parametrize("name", ["base.css", "worklist.css", "worklist.js", "icon.svg"])
def test_page_has_its_files_without_a_login(browser: Browser, name: str) -> None:
    assert browser.client.get(f"/web/{name}").status_code == 200


def test_form_without_end_is_cut_off(browser: Browser) -> None:
    assert browser.client.post("/login", content=b"name=" + b"a" * 5000).status_code == 413


@pytest.mark.parametrize("body", [b"\xff\xfe", b"&".join(b"a=1" for _ in range(20)), b"name=%ff", b"", b"{}"])
def test_form_that_is_none_is_refused(browser: Browser, body: bytes) -> None:
    assert browser.client.post("/login", content=body).status_code == 403


@pytest.mark.parametrize("number", ["-1", "0", "x", "99999999999999999999", "1e3", "²", "1;drop"])
def test_page_number_that_is_none_is_a_page_all_the_same(browser: Browser, number: str) -> None:
    browser.log_in()
    assert browser.client.get("/worklist", params={"page": number}).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE"])
def test_other_methods_are_not_answered(browser: Browser, method: str) -> None:
    assert browser.client.request(method, "/worklist").status_code == 405


def test_probe_asks_for_nothing(browser: Browser) -> None:
    assert browser.client.get("/livez").status_code == 200


def test_login_page_leads_on_who_is_logged_in_already(browser: Browser) -> None:
    browser.log_in()
    assert browser.client.get("/login").headers["location"] == "worklist"
