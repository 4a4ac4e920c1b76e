//! Paths that name nothing, and keys that are none.

use crate::harness::{ADMIN, Lab};

#[tokio::test]
async fn a_key_that_is_no_decimal_i64_is_404_on_every_resource() {
    let lab = Lab::shared().await;
    let keys = [
        "abc",
        "1.0",
        "1e3",
        "0x1",
        "+1",
        "%201",
        "1%20",
        "-",
        "--1",
        "9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999999999999999",
        "%D9%A1",
        "1_000",
        "NaN",
        "%00",
        "%FF",
        "1%2F2",
        "..%2F1",
        "null",
        "'1'",
    ];
    for resource in ["jobs", "nodes", "job-templates", "job-outputs", "hardware", "domains", "licenses"] {
        for key in keys {
            lab.get(&format!("/v1/{resource}/{key}")).by(ADMIN).await.expect(404);
        }
        for key in ["9223372036854775807", "-9223372036854775808", "0", "-1"] {
            lab.get(&format!("/v1/{resource}/{key}")).by(ADMIN).await.refuses(404, "not_found");
        }
    }
    lab.get("/v1/users/9223372036854775808").by(ADMIN).await.expect(404);
    lab.get("/v1/users/9223372036854775807").by(ADMIN).await.expect(404);
}

#[tokio::test]
async fn what_is_no_path_is_404_before_anybody_is_asked_who_they_are() {
    let lab = Lab::shared().await;
    for path in [
        // The first page is there for browsers, which say that they take HTML.
        "/",
        "/v1",
        "/v1/",
        "/v2/jobs/1",
        "/v1/job",
        "/v1/jobs",
        "/v1/jobs/",
        "/v1//jobs/list",
        "/v1/jobs/1/explode",
        "/v1/jobs/1/outputs",
        "/v1/jobs/1/outputs/a",
        "/v1/jobs/1/outputs/a/b/c/d",
        "/V1/JOBS/1",
        "/v1/jobs/../users/1/x",
        "/%76%31/jobs/1/x",
        "/v1/jobs/1/acquire/acquire",
        "/.git/config",
        "/v1/jobs/list/list",
    ] {
        for method in ["GET", "POST", "DELETE", "PURGE"] {
            lab.request(method, path).anonymous().await.expect(404);
        }
    }
    // A path of a length that no route has.
    lab.get(&format!("/v1/jobs/{}", "1".repeat(4_000))).anonymous().await.expect(404);
}

#[tokio::test]
async fn every_path_works_with_and_without_a_slash_at_its_end() {
    let lab = Lab::shared().await;
    let job = lab.job().await;
    for path in
        [format!("/v1/jobs/{job}"), "/v1/hardware/1".to_owned(), format!("/v1/job-templates/{}", lab.template().await)]
    {
        let without = lab.get(&path).await.expect(200).json();
        assert_eq!(lab.get(&format!("{path}/")).await.expect(200).json(), without);
        lab.get(&format!("{path}//")).await.expect(404);
    }
    lab.post("/v1/jobs/list/").await.expect(200);
}

#[tokio::test]
async fn names_of_outputs_are_utf8_without_control_characters() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    for bad in ["%FF", "%C3%28", "%ED%A0%80", "a%00b", "%0A", "%1F", "%7F", "%C2%80", "a%0Db"] {
        lab.upload(held, bad, "t", "x").await.expect(400);
        lab.upload(held, "n", bad, "x").await.expect(400);
    }
    let long = |count: usize| "%C3%A4".repeat(count);
    for (name, of_type, status) in [(200, 1, 200), (201, 1, 400), (1, 500, 200), (1, 501, 400)] {
        lab.upload(held, &long(name), &long(of_type), "x").await.expect(status);
    }
    for (path, name) in [
        ("a%2Fb", "a/b"),
        ("%2E%2E%2F%2E%2E%2Fetc", "../../etc"),
        ("a+b", "a+b"),
        ("a%20b", "a b"),
        ("%25", "%"),
        ("%F0%9F%92%A5", "💥"),
        ("a%3Fb%23c", "a?b#c"),
    ] {
        let output = lab.upload(held, path, "JSON", "{}").await.expect(200).json();
        assert_eq!(output["name"], name);
        lab.get(&format!("/v1/jobs/{}/outputs/{path}/JSON", held.job)).await.expect(200);
    }
}

#[tokio::test]
async fn progress_is_a_decimal_number_from_0_to_1() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    for bad in ["1.1", "-0.1", "NaN", "inf", "abc", "0,5", "1e999", "+0.5", "%20", "0x0", "1.0000000001", "%FF", "½"] {
        lab.act(held, &format!("progress/{bad}")).await.expect(400);
    }
    for (good, amount) in [("0", 0.0), ("1", 1.0), ("0.5", 0.5), (".5", 0.5), ("1e-3", 0.001), ("1.000", 1.0)] {
        let job = lab.act(held, &format!("progress/{good}")).await.expect(200).json();
        assert_eq!(job["progress_amount"], amount, "{good}");
    }
}
