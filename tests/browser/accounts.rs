//! Logging in, being logged out, and the first start.

use crate::harness::{Browser, Lab, PASSWORD, Setup, USER};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_and_a_session_that_ended_leads_back() {
    let lab = Lab::start();
    let Some(browser) = Browser::start(&lab).await else { return };
    let name = lab.username(USER).await;
    browser.open("/jobs?q=phase%3Astarted").await;
    browser.type_into("#username", &name).await;
    browser.type_into("#password", "wrong").await;
    browser.click("form button.main").await;
    browser.sees("no active user of this name and password").await;
    browser.type_into("#password", PASSWORD).await;
    browser.click("form button.main").await;
    browser.until("location.pathname === '/jobs' && location.search === '?q=phase%3Astarted'").await;
    // The session ends under the page: the next thing that is asked for leads to the log-in, and back.
    browser.lose_cookies().await;
    browser.type_into("#q", " x").await;
    browser.until("location.pathname === '/login'").await;
    assert!(browser.path().await.contains("next=%2Fjobs"), "{}", browser.path().await);
    browser.type_into("#username", &name).await;
    browser.type_into("#password", PASSWORD).await;
    browser.click("form button.main").await;
    browser.until("location.pathname === '/jobs'").await;
    assert_eq!(browser.complaints(&["status of 401"]).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_leads_through_making_the_admin() {
    let lab = Lab::start_with(Setup { without_password: true, ..Setup::default() });
    let Some(browser) = Browser::start(&lab).await else { return };
    let said = crate::harness::until("the link", || {
        let said = lab.server(|server| server.said());
        said.contains("/setup?key=").then_some(said)
    });
    let key = said.split("/setup?key=").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a key");
    browser.open("/").await;
    browser.sees("This labrun is new").await;
    browser.open(&format!("/setup?key={key}")).await;
    browser.sees("Welcome to labrun").await;
    browser.type_into("#password", "a long password").await;
    browser.type_into("#again", "another password").await;
    browser.click("form button.main").await;
    browser.sees("The two are not the same.").await;
    browser.type_into("#password", "a long password").await;
    browser.type_into("#again", "a long password").await;
    browser.click("form button.main").await;
    browser.until("location.pathname === '/' && document.querySelector('.menu') !== null").await;
    lab.obtain("admin", "a long password").await.expect(200);
    // The link was good once.
    browser.open(&format!("/setup?key={key}")).await;
    browser.sees("not good any more").await;
    assert_eq!(browser.complaints(&["status of 400", "status of 403"]).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_reached_by_the_keyboard() {
    let lab = Lab::start();
    let Some(browser) = Browser::start(&lab).await else { return };
    lab.finished().await;
    browser.log_in(crate::harness::ADMIN).await;
    let template = super::peaks(&lab).await;
    for path in ["/", "/jobs", "/submit", &format!("/submit/{template}"), "/nodes", "/users", "/account"] {
        browser.open(path).await;
        // Tab goes to everything that can be clicked and is seen, and shows where it is.
        let wanted = browser
            .eval(
                "(() => { window.missed = [...document.querySelectorAll('a[href], button, input, select, textarea, summary')]
                    .filter((one) => one.checkVisibility() && !one.disabled && one.type !== 'hidden' && one.getClientRects().length);
                 return window.missed.length; })()",
            )
            .await;
        let wanted = wanted.as_u64().expect("a number");
        assert!(wanted > 5, "{path}");
        for step in 0..wanted + 12 {
            browser.press("\u{e004}").await;
            let first = browser
                .eval(
                    "(() => { const at = document.activeElement; const there = window.missed.indexOf(at);
                     if (there >= 0) window.missed.splice(there, 1);
                     return [at.className, getComputedStyle(at).outlineStyle]; })()",
                )
                .await;
            if step == 0 {
                assert_eq!(first[0], "skip", "the way past the top comes first on {path}");
            }
        }
        let missed = browser
            .eval("window.missed.filter((one) => one.isConnected && one.tabIndex >= 0).map((one) => one.outerHTML)")
            .await;
        assert_eq!(missed, serde_json::json!([]), "{path}");
    }
    browser.open("/jobs").await;
    browser.press("/").await;
    assert_eq!(browser.eval("document.activeElement.id").await, "q");
}
