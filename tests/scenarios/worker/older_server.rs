//! A server that does not know what goes beyond the reference: claims, live logs, events.

use std::convert::Infallible;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use warp::Filter;
use warp::http::{HeaderMap, Method, Response};
use warp::hyper::body::Bytes;
use warp::path::FullPath;

use super::{GATE, submit, wait_for, wait_until};
use crate::harness::{Hands, Lab, Worker, document, shell_template};

/// What a server of the reference answers to calls that it has no route for.
const NOT_FOUND: &str = r#"{"detail": "Not found.", "code": "not_found"}"#;

/// Stands before a lab's server, and hides what goes beyond the reference. Gives its address.
async fn older(lab: &Lab) -> String {
    let address = format!("http://127.0.0.1:{}", lab.port());
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let own = format!("http://{}", listener.local_addr().expect("it listens"));
    let pass_on = move |method: Method, path: FullPath, query: String, headers: HeaderMap, body: Bytes| {
        let (address, http) = (address.clone(), http.clone());
        async move {
            let hidden = ["/jobs/claim", "/log", "/events", "/attempts"];
            if hidden.iter().any(|part| path.as_str().ends_with(part)) || path.as_str().contains("/blobs/") {
                return Ok::<_, Infallible>(Response::builder().status(404).body(Bytes::from(NOT_FOUND)));
            }
            // It would not know of leases and attempts either.
            let mut request =
                http.request(method, format!("{address}{}{}", path.as_str(), query.replace("lease", "x")));
            for name in ["authorization", "node-id", "content-type", "content-digest"] {
                if let Some(value) = headers.get(name) {
                    request = request.header(name, value);
                }
            }
            let answer = request.body(body).send().await.expect("an answer");
            let mut response = Response::builder().status(answer.status());
            for name in ["content-type", "etag", "content-digest"] {
                if let Some(value) = answer.headers().get(name) {
                    response = response.header(name, value);
                }
            }
            Ok(response.body(answer.bytes().await.expect("a body")))
        }
    };
    let query = warp::query::raw().map(|query: String| format!("?{query}")).or(warp::any().map(String::new)).unify();
    let route = warp::method().and(warp::path::full()).and(query).and(warp::header::headers_cloned());
    let route = route.and(warp::body::bytes()).and_then(pass_on);
    tokio::spawn(warp::serve(route).incoming(listener).run());
    own
}

// The older server has to go on while the test waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_claims_has_its_jobs_listed_and_acquired() {
    let lab = Lab::start();
    let foreign = lab.import(document("python")).await.expect(200).pk();
    let foreign = submit(&lab, foreign, json!({}), json!({})).await;
    let body = format!(
        "echo 'labrun-progress: 0.5'; echo $$ > \"$LABRUN_OUTPUTS/pid\"\n{GATE}echo done > \"$LABRUN_OUTPUTS/result\""
    );
    let template =
        lab.import(shell_template("plain", &[("gate", "str")], &[("result", "str")], &body)).await.expect(200).pk();
    let worker = Worker::start(&lab, Hands::default().with(&["--server", &older(&lab).await])).await;
    let gate = worker.dir().with_file_name("gate");
    let job = submit(&lab, template, json!({"gate": gate}), json!({})).await;
    wait_until(&lab, job, "its progress", |job| job["progress_amount"] == 0.5).await;
    worker.says("does not know claims");
    std::fs::write(&gate, "").expect("the gate opens");
    let done = wait_for(&lab, job, "finished").await;
    assert_eq!(done["lease_expires"], Value::Null);
    let names: Vec<_> = done["outputs"].as_array().expect("outputs").iter().map(|o| o["name"].clone()).collect();
    assert_eq!(names, ["result", "pid", "log"]);
    assert_eq!(lab.read(foreign).await["attempt"], 0, "a job for another kind of worker is left alone");
    // Without events, a cancelled job is noticed by the next sign of life.
    let job = submit(&lab, template, json!({"gate": "/no/such/gate"}), json!({})).await;
    wait_until(&lab, job, "its progress", |job| job["progress_amount"] == 0.5).await;
    lab.staff(job, "cancel").await.expect(200);
    worker.says("was cancelled");
}
