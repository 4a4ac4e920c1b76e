//! Every page in three sizes and two looks: pictures for people, faults for axe, and how soon something is seen.

use std::path::Path;

use serde_json::json;

use super::{chromatogram, faults, peaks, report};
use crate::harness::{ADMIN, Browser, Held, Lab, USER};

const SIZES: [(u32, u32); 3] = [(360, 800), (1024, 600), (1920, 1080)];
/// How often each page is opened for the time of its first paint.
const TIMES: usize = 7;

/// Fills a lab with what an ordinary week leaves there. Gives the pages that show it.
async fn week(lab: &Lab) -> Vec<(&'static str, String)> {
    let template = peaks(lab).await;
    let digest = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7";
    lab.put(&format!("/v1/blobs/{digest}")).bytes("data").await;
    let make = format!("/v1/job-templates/{template}/create-job");
    let mut jobs = Vec::new();
    for number in 0..24 {
        let body = json!({
            "input_values": {"chromatogram": {"value": format!("sha256:{digest}"), "type": "BLOB<'csv'>"}},
            "parameter_values": {"threshold": "0.5"}, "description": format!("Run {number} of the caffeine series"),
            "labels": {"batch": (number / 6).to_string()}, "hold": number == 23,
        });
        jobs.push(lab.post(&make).json(body).await.expect(200).pk());
    }
    let nodes = [lab.node(USER).await, lab.node(USER).await, lab.node(USER).await];
    let mut shown = 0;
    for (number, job) in jobs.iter().copied().enumerate().take(17) {
        let held = Held { job, node: nodes[number % nodes.len()] };
        lab.act(held, "acquire").await.expect(200);
        if number >= 16 {
            continue;
        }
        lab.act(held, "start").await.expect(200);
        let progress = format!("/v1/jobs/{job}/progress/0.{}", 2 + number % 7);
        lab.post(&progress).node(held.node).json(json!({})).await.expect(200);
        let lines = "reading 400 points\nsubtracting the base line\nfound 3 peaks\n";
        lab.post(&format!("/v1/jobs/{job}/log")).node(held.node).bytes(lines).await.expect(200);
        match number {
            14 | 15 => {}
            3 | 9 => {
                lab.fail(held).await.expect(200);
            }
            _ => {
                lab.upload(held, "trace", "csv", chromatogram()).await.expect(200);
                lab.upload(held, "peaks", "JSON", r#"{"peaks": [{"at": 20.0, "height": 5.0}]}"#).await.expect(200);
                lab.act(held, "finish").json(json!({})).await.expect(200);
                shown = job;
            }
        }
    }
    lab.staff(jobs[18], "cancel").await.expect(200);
    let user = lab.user_pk(USER).await;
    let profile = json!({"first_name": "Ada", "last_name": "Lovelace", "email": "ada@lab.example"});
    lab.patch(&format!("/v1/users/{user}")).by(ADMIN).json(profile).await.expect(200);
    lab.post("/v1/auth/tokens").by(ADMIN).json(json!({"name": "worker in room 4"})).await.expect(201);
    vec![
        ("overview", "/".to_owned()),
        ("jobs", "/jobs".to_owned()),
        ("job", format!("/jobs/{shown}")),
        ("job-failed", format!("/jobs/{}", jobs[3])),
        ("submit", "/submit".to_owned()),
        ("submit-form", format!("/submit/{template}")),
        ("submit-output", format!("/submit/{}", report(lab).await)),
        ("nodes", "/nodes".to_owned()),
        ("node", format!("/nodes/{}", nodes[0])),
        ("users", "/users".to_owned()),
        ("user", format!("/users/{user}")),
        ("account", "/account".to_owned()),
        ("not-found", "/jobs/987654".to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_can_be_read_by_everybody_in_both_looks_and_three_sizes() {
    let lab = Lab::start();
    let Some(browser) = Browser::start(&lab).await else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
    std::fs::create_dir_all(&folder).expect("a folder for the pictures");
    let pages = week(&lab).await;
    browser.open("/login").await;
    let login = [("login", "/login".to_owned())];
    for is_logged_in in [false, true] {
        if is_logged_in {
            browser.log_in(ADMIN).await;
        }
        for theme in ["light", "dark"] {
            browser.look(theme).await;
            for (name, path) in if is_logged_in { pages.as_slice() } else { login.as_slice() } {
                for (width, height) in SIZES {
                    browser.resize(width, height).await;
                    browser.open(path).await;
                    browser.until("document.readyState === 'complete'").await;
                    browser.until("[...document.querySelectorAll('details[open] .preview')].every((one) => one.childElementCount > 0)").await;
                    let wide = browser.eval("document.documentElement.scrollWidth").await;
                    assert_eq!(wide, width, "{path} is wider than {width}");
                    let found = faults(&browser).await;
                    assert!(found.is_empty(), "{path}, {theme}, {width}: {found:#?}");
                    let picture = browser.screenshot().await;
                    let file = folder.join(format!("{name}-{theme}-{width}x{height}.png"));
                    std::fs::write(file, picture).expect("a picture can be kept");
                }
            }
        }
    }
    assert_eq!(browser.complaints(&["status of 404"]).await, [""; 0]);
    browser.asked_nobody_else().await;
}

/// Opens a page some times, and gives the median of when something was first seen, in milliseconds.
pub(super) async fn first_paint_ms(browser: &Browser, path: &str) -> f64 {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        browser.open(path).await;
        browser.until("performance.getEntriesByName('first-contentful-paint').length > 0").await;
        let time = browser.eval("performance.getEntriesByName('first-contentful-paint')[0].startTime").await;
        times.push(time.as_f64().expect("a number"));
    }
    times.sort_by(f64::total_cmp);
    times[TIMES / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_paint_of_every_page_is_told() {
    let lab = Lab::start();
    let Some(browser) = Browser::start(&lab).await else { return };
    let pages = week(&lab).await;
    browser.resize(1024, 600).await;
    println!("first contentful paint, median of {TIMES}, from navigation start:");
    println!("  login {:.0} ms", first_paint_ms(&browser, "/login").await);
    browser.log_in(ADMIN).await;
    for (name, path) in &pages {
        println!("  {name} {:.0} ms", first_paint_ms(&browser, path).await);
    }
}
