//! Outputs whose names and bytes would like to run on our pages.

use serde_json::json;

use super::faults;
use crate::harness::{ADMIN, Browser, Lab};

/// What any of it would do, if it ran.
const MARK: &str = "window.top.document.title = 'owned'; window.top.owned = true;";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_worker_uploads_runs() {
    let lab = Lab::start();
    let Some(browser) = Browser::start(&lab).await else { return };
    let held = lab.started().await;
    let name = "%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40" onload="{MARK}"><script>{MARK}</script>
           <image href="http://127.0.0.2/beacon.png" width="9" height="9"/><rect width="40" height="40" fill="green"/></svg>"#
    );
    let html = format!(
        r#"<!doctype html><script>{MARK}</script><img src=x onerror="{MARK}"><iframe src="http://127.0.0.2/"></iframe>"#
    );
    let mut outputs = Vec::new();
    for (name, type_name, bytes) in [
        (name, "text", "harmless".to_owned()),
        ("picture", "svg", svg),
        ("page", "html", html),
        ("table", "csv", format!("a,b\n<script>{MARK}</script>,1\n\"=cmd|' /C calc'!A0\",2\n")),
        (
            "tree",
            "json",
            format!(r#"{{"<img src=x onerror=\"{}\">": "</pre><script>{MARK}</script>"}}"#, MARK.replace('\'', "`")),
        ),
    ] {
        outputs.push(lab.upload(held, name, type_name, bytes).await.expect(200).pk());
    }
    let evil = format!("</pre><script>{MARK}</script>\u{1b}[31m\n");
    lab.post(&format!("/v1/jobs/{}/log", held.job)).node(held.node).bytes(evil).await.expect(200);
    let error = format!("<img src=x onerror=\"{MARK}\">");
    lab.act(held, "finish").json(json!({"success": false, "error": error})).await.expect(200);
    let description = json!({"description": format!("<script>{MARK}</script>")});
    lab.patch(&format!("/v1/jobs/{}", held.job)).by(ADMIN).json(description).await.expect(200);

    browser.log_in(ADMIN).await;
    let mut paths = vec!["/".to_owned(), "/jobs".to_owned(), "/nodes".to_owned(), format!("/jobs/{}", held.job)];
    paths.extend(outputs.iter().map(|output| format!("/outputs/{output}")));
    paths.push(format!("/outputs/{}/image", outputs[1]));
    for path in &paths {
        browser.open(path).await;
        if *path == format!("/jobs/{}", held.job) {
            browser.sees("<script>alert(1)</script>").await;
            // Previews that are not open yet are opened.
            browser.define("for (const one of document.querySelectorAll('details')) one.open = true;").await;
            browser.until("[...document.querySelectorAll('.preview')].every((one) => one.childElementCount > 0)").await;
            browser.until("document.querySelector('.preview img')?.complete").await;
            assert_eq!(faults(&browser).await, [json!(null); 0]);
        }
        assert_eq!(browser.eval("window.owned ?? null").await, json!(null), "{path}");
        assert_ne!(browser.eval("document.title").await, "owned", "{path}");
        assert_eq!(browser.eval("document.querySelectorAll('iframe, object, embed').length").await, 0, "{path}");
    }
    browser.asked_nobody_else().await;
    // By itself the picture is a document, and the policy says what it kept from running in it.
    let complaints = browser.complaints(&["Content Security Policy", "/image"]).await;
    assert_eq!(complaints, [""; 0]);
}
