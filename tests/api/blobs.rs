//! `PUT`, `GET` and `HEAD /v1/blobs/{SHA256}`, and outputs attached by digest.

use crate::harness::{ADMIN, Lab, sha256, until};

#[tokio::test]
async fn bytes_come_back_as_they_went_and_are_known_the_second_time() {
    let lab = Lab::shared().await;
    let bytes = lab.unique("a spectrum").into_bytes();
    let path = format!("/v1/blobs/{}", sha256(&bytes));
    lab.get(&path).await.refuses(404, "not_found");
    let made = lab.put(&path).bytes(bytes.clone()).await.expect(201).json();
    assert_eq!(made, serde_json::json!({"sha256": sha256(&bytes), "size": bytes.len()}));
    // Known bytes need not be sent at all.
    assert_eq!(lab.put(&path).await.expect(200).json(), made);
    let reply = lab.get(&path).await.expect(200);
    assert_eq!(reply.body, bytes);
    assert_eq!(reply.header("etag"), Some(format!("\"{}\"", sha256(&bytes)).as_str()));
    let part = lab.get(&path).header("range", "bytes=2-4").await.expect(206);
    assert_eq!(part.body, bytes[2..5]);
    let head = lab.request("HEAD", &path).await.expect(200);
    assert_eq!(head.header("content-length"), Some(bytes.len().to_string().as_str()));
}

#[tokio::test]
async fn wrong_bytes_and_names_that_are_no_digest_are_refused() {
    let lab = Lab::shared().await;
    let path = format!("/v1/blobs/{}", sha256(b"these"));
    lab.put(&path).bytes("those").await.refuses(400, "digest_mismatch");
    lab.put(&path).header("x-content-sha256", sha256(b"those")).bytes("these").await.refuses(400, "digest_mismatch");
    lab.get(&path).await.expect(404);
    for name in ["x", "../../etc/passwd", &sha256(b"")[1..]] {
        let path = format!("/v1/blobs/{}", name.replace('/', "%2F"));
        lab.put(&path).bytes("").await.expect(404);
        lab.get(&path).await.expect(404);
    }
    lab.put(&path).anonymous().bytes("these").await.expect(401);
    lab.get(&path).anonymous().await.expect(401);
}

#[tokio::test]
async fn an_output_takes_bytes_that_are_there_and_takes_them_along_when_it_goes() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    let bytes = lab.unique("an image").into_bytes();
    let digest = sha256(&bytes);
    let attach = format!("/v1/jobs/{}/outputs/image/BLOB?blob=sha256:{digest}", held.job);
    lab.post(&attach).node(held.node).await.refuses(404, "no_such_blob");
    lab.put(&format!("/v1/blobs/{digest}")).bytes(bytes.clone()).await.expect(201);
    let output = lab.post(&attach).node(held.node).await.expect(200).json();
    assert_eq!((&output["sha256"], &output["size"]), (&digest.clone().into(), &bytes.len().into()));
    assert_eq!(lab.post(&attach).node(held.node).await.expect(200).json(), output, "a retry is harmless");
    lab.post(&attach.replace("sha256:", "md5:")).node(held.node).await.blames("blob");
    let download = lab.get(&format!("/v1/job-outputs/{}/download", output["pk"])).await.expect(200);
    assert_eq!(download.body, bytes);
    lab.delete(&format!("/v1/job-outputs/{}/hard", output["pk"])).by(ADMIN).await.expect(200);
    let file = lab.server(|server| server.dir().join("blobs").join(&digest[..2]).join(&digest[2..]));
    until("the bytes of the last output to go", || (!file.exists()).then_some(()));
}

#[tokio::test]
async fn the_input_of_a_job_keeps_its_bytes_until_the_job_goes_for_good() {
    let lab = Lab::shared().await;
    let mut document = crate::harness::document(&lab.unique("imaging"));
    document["specific"]["inputs"] =
        serde_json::json!([{"name": "image", "types": ["BLOB<'png'>"], "options": "", "help": ""}]);
    document["specific"]["framework"] = "".into();
    document["specific"]["body"] = "".into();
    document["specific"]["parameters"] = serde_json::json!([]);
    let template = lab.import(document).await.expect(200).pk();
    let bytes = lab.unique("a plate").into_bytes();
    let digest = sha256(&bytes);
    let create = format!("/v1/job-templates/{template}/create-job");
    let value = serde_json::json!({"value": format!("sha256:{digest}"), "type": "BLOB<'png'>"});
    let body = serde_json::json!({"input_values": {"image": value}});
    lab.post(&create).json(body.clone()).await.expect(400);
    lab.put(&format!("/v1/blobs/{digest}")).bytes(bytes).await.expect(201);
    let job = lab.post(&create).json(body).await.expect(200).pk();
    lab.staff(job, "").await.expect(204);
    let file = lab.server(|server| server.dir().join("blobs").join(&digest[..2]).join(&digest[2..]));
    assert!(file.exists(), "a soft-deleted job keeps its inputs");
    lab.staff(job, "hard").await.expect(200);
    until("the bytes of the last job to go", || (!file.exists()).then_some(()));
}
