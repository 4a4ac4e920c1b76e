//! `/v1/job-outputs`, and downloads.

use serde_json::{Value, json};

use crate::harness::{ADMIN, Held, Lab, sha256};

async fn made(lab: &Lab, bytes: &[u8]) -> (Held, Value) {
    let held = lab.started().await;
    let output = lab.upload(held, "table", "CSV", bytes).await.expect(200).json();
    (held, output)
}

#[tokio::test]
async fn an_output_shows_what_it_is() {
    let lab = Lab::shared().await;
    let (held, output) = made(&lab, b"mz,height").await;
    assert_eq!((&output["job"], &output["name"], &output["type"]), (&json!(held.job), &json!("table"), &json!("CSV")));
    assert_eq!((&output["size"], &output["sha256"]), (&json!(9), &json!(sha256(b"mz,height"))));
    assert!(output["deletion_time"].is_null() && output["creation_time"].is_string() && output["creator"].is_i64());
    assert_eq!(lab.get(&format!("/v1/job-outputs/{}", output["pk"])).await.expect(200).json(), output);
    let spec = json!({"expressions": [{"type": "exact", "field": "job.pk", "value": held.job}]});
    assert_eq!(lab.post("/v1/job-outputs/list").json(spec).await.expect(200).json(), json!([output]));
}

#[tokio::test]
async fn a_download_comes_with_all_that_checks_and_resumes_it() {
    let lab = Lab::shared().await;
    let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n % 256) as u8).collect();
    let (_, output) = made(&lab, &bytes).await;
    let path = format!("/v1/job-outputs/{}/download", output["pk"]);
    let whole = lab.get(&path).await.expect(200);
    assert_eq!(whole.body, bytes);
    let tag = format!("\"{}\"", sha256(&bytes));
    for (name, value) in [
        ("content-type", "application/octet-stream"),
        ("content-length", "100000"),
        ("etag", &tag),
        ("accept-ranges", "bytes"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(whole.header(name), Some(value), "{name}");
    }
    assert!(whole.header("content-disposition").is_some_and(|text| text.starts_with("attachment")));
    let digest = whole.header("content-digest").expect("a digest");
    assert!(digest.starts_with("sha-256=:"));
    assert_eq!(whole.header("repr-digest"), Some(digest));
    let part = lab.get(&path).header("range", "bytes=10-19").await.expect(206);
    assert_eq!((part.body.as_slice(), part.header("content-range")), (&bytes[10..20], Some("bytes 10-19/100000")));
    assert_eq!((part.header("content-digest"), part.header("repr-digest")), (None, Some(digest)), "of the whole alone");
    let tail = lab.get(&path).header("range", "bytes=-5").header("if-range", &tag).await.expect(206);
    assert_eq!(tail.body, bytes[99_995..]);
    lab.get(&path).header("range", "bytes=-5").header("if-range", "\"else\"").await.expect(200);
    let beyond = lab.get(&path).header("range", "bytes=100000-").await.expect(416);
    assert_eq!(beyond.header("content-range"), Some("bytes */100000"));
    assert!(lab.get(&path).header("if-none-match", &tag).await.expect(304).body.is_empty());
    let head = lab.request("HEAD", &path).await.expect(200);
    assert_eq!((head.header("content-length"), head.body.len()), (Some("100000"), 0));
    let known = lab.request("HEAD", &path).header("if-none-match", &tag).await.expect(304);
    assert_eq!(known.header("content-length"), None, "the length would be that of what the client has");
}

#[tokio::test]
async fn a_download_by_post_names_the_file_and_passes_over_the_rest() {
    let lab = Lab::shared().await;
    let (_, output) = made(&lab, b"bytes").await;
    let path = format!("/v1/job-outputs/{}/download", output["pk"]);
    let name = async |body: Value| {
        let reply = lab.post(&path).json(body).await.expect(200);
        reply.header("content-disposition").expect("a name").to_owned()
    };
    assert!(name(json!({"filetype": "csv", "params": {"a": 1}, "more": []})).await.contains("table.csv"));
    assert!(name(json!({})).await.contains("table"));
    lab.post(&path).await.expect(200);
    lab.post(&path).json(json!({"filetype": 7})).await.blames("filetype");
    for nasty in ["../x", "a\"b", "a\r\nSet-Cookie: x", "é", "\\"] {
        let header = name(json!({"filetype": nasty})).await;
        assert!(!header.contains("/") && !header.contains('\r') && header.matches('"').count() % 2 == 0, "{header}");
    }
}

#[tokio::test]
async fn deleting_frees_the_name_and_reinstating_wants_it_free() {
    let lab = Lab::shared().await;
    let (held, output) = made(&lab, b"first").await;
    let path = format!("/v1/job-outputs/{}", output["pk"]);
    let by_name = format!("/v1/jobs/{}/outputs/table/CSV", held.job);
    for _ in 0..2 {
        lab.delete(&path).by(ADMIN).await.expect(204);
    }
    for gone in [by_name.clone(), format!("{by_name}/info")] {
        lab.get(&gone).await.refuses(404, "not_found");
    }
    let deleted = lab.get(&path).await.expect(200).json();
    assert!(deleted["deletion_time"].is_string());
    assert_eq!(lab.get(&format!("{path}/download")).await.expect(200).body, b"first");
    lab.upload(held, "table", "CSV", "second").await.expect(200);
    lab.delete(&format!("{path}/reinstate")).by(ADMIN).await.refuses(406, "name_taken");
    lab.delete(&by_name).by(ADMIN).await.expect(200);
    lab.delete(&by_name).by(ADMIN).await.refuses(404, "not_found");
    for _ in 0..2 {
        assert_eq!(lab.delete(&format!("{path}/reinstate")).by(ADMIN).await.expect(200).json(), output);
    }
    assert_eq!(lab.get(&by_name).await.expect(200).body, b"first");
}

#[tokio::test]
async fn hard_delete_gives_the_output_and_takes_bytes_that_nothing_names() {
    let lab = Lab::start();
    let (held, output) = made(&lab, b"shared bytes").await;
    let twin = lab.upload(held, "twin", "CSV", "shared bytes").await.expect(200).json();
    let hard = |output: &Value| format!("/v1/job-outputs/{}/hard", output["pk"]);
    let blobs = lab.server(|server| server.dir().join("blobs"));
    assert_eq!(lab.delete(&hard(&output)).by(ADMIN).await.expect(200).json(), output);
    lab.get(&format!("/v1/job-outputs/{}", output["pk"])).await.refuses(404, "not_found");
    // The twin still names them.
    assert_eq!(lab.get(&format!("/v1/job-outputs/{}/download", twin["pk"])).await.expect(200).body, b"shared bytes");
    lab.delete(&hard(&twin)).by(ADMIN).await.expect(200);
    crate::harness::until("the bytes to go", || crate::harness::dump::files(&blobs).is_empty().then_some(()));
}

#[tokio::test]
async fn an_upload_is_checked_against_its_digest_and_repeats_harmlessly() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    let right = sha256(b"bytes");
    lab.upload(held, "a", "t", "bytes")
        .header("x-content-sha256", sha256(b"other"))
        .await
        .refuses(400, "digest_mismatch");
    lab.upload(held, "a", "t", "bytes").header("x-content-sha256", "zz").await.refuses(400, "bad_digest");
    lab.upload(held, "a", "t", "bytes").header("content-digest", "sha-256=:!:").await.refuses(400, "bad_digest");
    lab.get(&format!("/v1/jobs/{}/outputs/a/t", held.job)).await.expect(404);
    let first = lab.upload(held, "a", "t", "bytes").header("x-content-sha256", &right).await.expect(200).json();
    assert_eq!(lab.upload(held, "a", "t", "bytes").await.expect(200).json(), first);
    lab.upload(held, "a", "t", "others").await.refuses(400, "duplicate_output");
    lab.upload(held, "a", "u", "others").await.expect(200);
    let empty = lab.upload(held, "nothing", "t", "").await.expect(200).json();
    assert_eq!((&empty["size"], &empty["sha256"]), (&json!(0), &json!(sha256(b""))));
    assert!(lab.get(&format!("/v1/jobs/{}/outputs/nothing/t", held.job)).await.expect(200).body.is_empty());
    // The type of the body is nobody's business.
    let odd = lab.upload(held, "odd", "t", "{").header("content-type", "application/json");
    odd.header("content-disposition", "attachment; filename=x").await.expect(200);
}

#[tokio::test]
async fn the_largest_output_is_a_setting() {
    let lab = Lab::start_with(crate::harness::Setup::default().with(&["--output-bytes-max", "1000"]));
    let held = lab.started().await;
    lab.upload(held, "fits", "t", vec![1; 1_000]).await.expect(200);
    lab.upload(held, "large", "t", vec![1; 1_001]).await.refuses(413, "too_large");
    lab.get(&format!("/v1/jobs/{}/outputs/large/t", held.job)).await.expect(404);
}

#[tokio::test]
async fn the_room_that_is_to_stay_free_is_a_setting() {
    let all = u64::MAX.to_string();
    let lab = Lab::start_with(crate::harness::Setup::default().with(&["--headroom-bytes", &all]));
    let held = lab.started().await;
    lab.upload(held, "any", "t", "bytes").await.refuses(507, "no_space");
    lab.act(held, "finish").await.expect(200);
}
