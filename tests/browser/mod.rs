//! The pages in a real browser, as people use them.

mod accounts;
mod day;
mod hostile;
mod looks;
mod many;

use serde_json::{Value, json};

use crate::harness::Lab;

/// Imports a template that asks for a file and some parameters.
async fn peaks(lab: &Lab) -> i64 {
    let document = json!({
        "name": lab.unique("find-peaks"), "version": 1, "scope": "public", "licence": "Apache 2.0",
        "description": "Finds the peaks of a chromatogram, and tells their areas.",
        "specific": {"job_type": "", "executor_class": "lab.Peaks", "required_packages": "", "body": "",
            "inputs": [
                {"name": "chromatogram", "types": ["BLOB<'csv'>"], "help": "A table of time and signal.", "options": ""},
            ],
            "outputs": [{"name": "peaks", "type": "csv", "help": "a line for each peak"}],
            "parameters": {
                "width": {"types": ["int"], "help": "The least width of a peak, in points.", "default": 7, "default_type": "int", "const": false},
                "threshold": {"types": ["float"], "help": "The least height of a peak."},
                "baseline": {"types": ["'flat'", "'linear'"], "help": "How the base line is drawn.", "default": "flat", "default_type": "'flat'", "const": false},
                "smooth": {"types": ["bool"], "help": "", "default": true, "default_type": "bool", "const": false},
                "options": {"types": ["Map<int>"], "help": "Anything else.", "default": {}, "default_type": "Map<int>", "const": false},
                "unit": {"types": ["str"], "help": "", "default": "mV", "default_type": "str", "const": true},
            }},
    });
    lab.import(document).await.expect(200).pk()
}

/// Imports a template that takes the output of another.
async fn report(lab: &Lab) -> i64 {
    let document = json!({
        "name": lab.unique("report"), "version": 1, "scope": "public", "licence": "Apache 2.0",
        "description": "Puts the peaks of a run into a page.",
        "specific": {"job_type": "", "executor_class": "lab.Report", "required_packages": "", "body": "",
            "inputs": [{"name": "peaks", "types": ["JobOutput<JSON>", "str"], "help": "", "options": ""}], "parameters": {}},
    });
    lab.import(document).await.expect(200).pk()
}

/// A chromatogram: three peaks over a base line.
fn chromatogram() -> String {
    let signal = |x: f64| {
        [(20.0, 5.0), (50.0, 9.0), (75.0, 3.0)]
            .map(|(at, height): (f64, f64)| height * (-(x - at).powi(2) / 12.0).exp())
            .iter()
            .sum::<f64>()
    };
    let rows: Vec<String> =
        (0..400).map(|step| f64::from(step) / 4.0).map(|x| format!("{x},{:.4}", signal(x))).collect();
    format!("time,signal\n{}\n", rows.join("\n"))
}

/// Gives what axe finds that is serious or worse on the page that is open.
async fn faults(browser: &crate::harness::Browser) -> Vec<Value> {
    browser.define(include_str!("../data/axe/axe.min.js")).await;
    let found = browser
        .run(
            "const done = arguments[0];
             axe.run(document, {resultTypes: ['violations']}).then(({violations}) => done(violations
                 .filter(({impact}) => impact === 'serious' || impact === 'critical')
                 .map(({id, impact, nodes}) => ({id, impact, nodes: nodes.map(({html, failureSummary}) => [html, failureSummary])}))),
                 (error) => done([String(error)]));",
        )
        .await;
    found.as_array().expect("a list").clone()
}
