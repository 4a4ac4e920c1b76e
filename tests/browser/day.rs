//! A day at the lab: a job is submitted, watched, looked at and fetched; another is called off.

use serde_json::json;

use super::{chromatogram, peaks, report};
use crate::harness::{ADMIN, Browser, Held, Lab, USER};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_submitted_with_a_file_watched_as_it_runs_and_fetched() {
    let lab = Lab::start();
    let Some(browser) = Browser::start(&lab).await else { return };
    let template = peaks(&lab).await;
    report(&lab).await;
    browser.log_in(&lab.username(USER).await).await;
    browser.open("/submit").await;
    browser.until("document.querySelectorAll('.card').length === 2").await;
    browser.type_into("#q", "chromatogram").await;
    browser.until("document.querySelectorAll('.card').length === 1").await;
    browser.click(".card .title").await;
    browser.until(&format!("location.pathname === '/submit/{template}'")).await;

    // Without a file and with a number out of place, nothing is made; what was filled in stays.
    browser.type_into("[name='p.0.threshold']", "0.5").await;
    browser.type_into("#description", "Run 17 of the morning").await;
    browser.define("for (const one of document.querySelectorAll('[required]')) one.required = false;").await;
    browser.click("#send").await;
    browser.sees("This input is required.").await;
    assert_eq!(browser.eval("document.querySelector('#description').value").await, "Run 17 of the morning");

    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("run17.csv");
    std::fs::write(&file, chromatogram()).expect("it can be written");
    browser.type_into("input[type=file]", file.to_str().expect("a path")).await;
    browser.until("document.querySelector('[data-digest]').value.startsWith('sha256:')").await;
    browser.sees("run17.csv").await;
    browser.click("details summary").await;
    browser.click("#submit details summary").await;
    browser.type_into("#labels", "batch=7").await;
    browser.click("#send").await;
    browser.until("/^\\/jobs\\/[0-9]+$/.test(location.pathname)").await;
    let job: i64 = browser.path().await.trim_start_matches("/jobs/").parse().expect("a key");
    let made = lab.read(job).await;
    assert_eq!(made["labels"], json!({"batch": "7"}), "{made}");
    assert_eq!(made["parameter_values"], json!({"threshold": {"value": 0.5, "type": "float"}}), "{made}");
    assert_eq!(made["input_values"]["chromatogram"]["type"], "BLOB<'csv'>");
    let digest =
        made["input_values"]["chromatogram"]["value"].as_str().expect("a digest").trim_start_matches("sha256:");
    let bytes = lab.get(&format!("/v1/blobs/{digest}")).await.expect(200).body;
    assert_eq!(bytes, chromatogram().as_bytes());

    // From here on the page is never loaded again.
    browser.define("window.wasHere = true;").await;
    browser.sees("waiting").await;
    let held = Held { job, node: lab.node(USER).await };
    lab.act(held, "acquire").await.expect(200);
    lab.act(held, "start").await.expect(200);
    browser.sees("running").await;
    lab.post(&format!("/v1/jobs/{job}/progress/0.4")).node(held.node).json(json!({})).await.expect(200);
    browser.sees("40 %").await;
    let log = lab.post(&format!("/v1/jobs/{job}/log")).node(held.node).bytes("found three peaks\n");
    log.await.expect(200);
    browser.sees("found three peaks").await;
    lab.upload(held, "trace", "csv", chromatogram()).await.expect(200);
    browser.sees("trace").await;
    lab.act(held, "finish").json(json!({})).await.expect(200);
    browser.sees("finished").await;
    assert_eq!(browser.eval("window.wasHere").await, true);

    // The preview is a plot and a table; the bytes are those that were uploaded.
    browser.until("document.querySelector('.preview svg polyline') !== null").await;
    let href = browser.eval("document.querySelector('#job-outputs details a.button').getAttribute('href')").await;
    assert_eq!(browser.fetch(href.as_str().expect("a path")).await, chromatogram().as_bytes());
    browser.asked_nobody_else().await;
    // A form that is refused is answered with 400, which the browser notes.
    assert_eq!(browser.complaints(&["status of 400"]).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_called_off_and_an_output_is_handed_on() {
    let lab = Lab::start();
    let Some(browser) = Browser::start(&lab).await else { return };
    let held = lab.started().await;
    browser.log_in(ADMIN).await;
    browser.open(&format!("/jobs/{}", held.job)).await;
    browser.click("button[value=cancel]").await;
    browser.until("document.querySelector('#dialog')?.open").await;
    browser.click("#dialog button.danger").await;
    browser.until("document.querySelector('#job-head').innerText.includes('cancelled')").await;
    assert_eq!(lab.read(held.job).await["phase"], "cancelled");

    let source = lab.started().await;
    let output = lab.upload(source, "table", "JSON", "[1, 2]").await.expect(200).pk();
    lab.act(source, "finish").json(json!({})).await.expect(200);
    browser.open(&format!("/submit/{}", report(&lab).await)).await;
    browser.click(&format!("select option[value='{output}']")).await;
    browser.click("#send").await;
    browser.until("/^\\/jobs\\/[0-9]+$/.test(location.pathname)").await;
    let job: i64 = browser.path().await.trim_start_matches("/jobs/").parse().expect("a key");
    let input = &lab.read(job).await["input_values"]["peaks"];
    assert_eq!(input, &json!({"value": output, "type": "JobOutput<JSON>"}));
    assert_eq!(browser.complaints(&[]).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_and_overview_go_on_by_themselves() {
    let lab = Lab::start();
    let Some(browser) = Browser::start(&lab).await else { return };
    browser.log_in(&lab.username(USER).await).await;
    browser.open("/").await;
    browser.sees("Nothing has been done here yet").await;
    browser.define("window.wasHere = true;").await;
    let held = lab.started().await;
    browser.until("document.querySelector('.tile.started strong').innerText === '1'").await;
    assert_eq!(browser.eval("window.wasHere").await, true);
    browser.open("/nodes").await;
    browser.sees("works").await;
    browser.define("window.wasHere = true;").await;
    lab.act(held, "finish").json(json!({})).await.expect(200);
    browser.sees("is free").await;
    browser.open(&format!("/nodes/{}", held.node)).await;
    browser.sees("finished").await;
    assert_eq!(browser.complaints(&[]).await, [""; 0]);
}
