//! Pages over many jobs: they take as long as over few.

use futures_util::StreamExt;
use serde_json::json;

use super::looks::first_paint_ms;
use crate::harness::{ADMIN, Browser, Lab, Visitor};

/// Jobs that the pages must hold without slowing.
const JOBS: usize = 10_000;
/// Requests that fill the lab at a time.
const AT_A_TIME: usize = 64;
/// How often a page is asked for.
const TIMES: usize = 15;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_jobs_are_shown_as_soon_as_twenty() {
    let lab = Lab::start();
    let Some(browser) = Browser::start(&lab).await else { return };
    let admin = Visitor::log_in(&lab, ADMIN).await;
    browser.log_in(ADMIN).await;
    let paths = ["/", "/jobs", "/nodes", "/submit"];
    fill(&lab, 20).await;
    let mut few = Vec::new();
    for path in paths {
        few.push((served_ms(&admin, path).await, first_paint_ms(&browser, path).await));
    }
    fill(&lab, JOBS - 20).await;
    println!("pages over {JOBS} jobs, against 20: medians");
    for (path, (served, painted)) in paths.into_iter().zip(few) {
        let (served_many, painted_many) = (served_ms(&admin, path).await, first_paint_ms(&browser, path).await);
        println!(
            "  {path}: answered in {served_many:.1} ms against {served:.1} ({:.2}), first paint {painted_many:.0} ms against {painted:.0} ({:.2})",
            served_many / served,
            painted_many / painted,
        );
    }
    // However many there are, a page shows its rows and no more.
    browser.open("/jobs").await;
    assert_eq!(browser.eval("document.querySelectorAll('#jobs tbody tr').length").await, 50);
    browser.open("/").await;
    browser
        .until(&format!("document.querySelector('.tile.created strong').innerText.replace(/[^0-9]/g, '') === '{JOBS}'"))
        .await;
}

async fn fill(lab: &Lab, count: usize) {
    let path = format!("/v1/job-templates/{}/create-job", lab.template().await);
    let make = |number: usize| {
        let body = json!({"input_values": {}, "description": format!("Sample {number}")});
        let request = lab.post(&path).json(body);
        async move { request.await.expect(200) }
    };
    futures_util::stream::iter((0..count).map(make)).buffer_unordered(AT_A_TIME).for_each(async |_| ()).await;
}

/// Gives the median time of an answer, in milliseconds.
async fn served_ms(visitor: &Visitor<'_>, path: &str) -> f64 {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let began = std::time::Instant::now();
        visitor.get(path).await.expect(200);
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times[TIMES / 2]
}
