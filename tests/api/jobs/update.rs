//! `PUT` and `PATCH /v1/jobs/{PK}`.

use serde_json::json;

use crate::harness::{ADMIN, Lab};

#[tokio::test]
async fn the_description_is_what_can_be_written() {
    let lab = Lab::shared().await;
    let job = lab.job().await;
    let path = format!("/v1/jobs/{job}");
    let before = lab.read(job).await;
    assert_eq!(lab.patch(&path).by(ADMIN).json(json!({})).await.expect(200).json(), before);
    lab.put(&path).by(ADMIN).json(json!({})).await.blames("description");
    let put = lab.put(&path).by(ADMIN).json(json!({"description": "plate 7 \u{1f9ea}"})).await.expect(200).json();
    assert_eq!(put["description"], "plate 7 \u{1f9ea}");
    // What is read-only is passed over.
    let mut all = put.clone();
    all["phase"] = json!("finished");
    all["pk"] = json!(1);
    assert_eq!(lab.put(&path).by(ADMIN).json(all).await.expect(200).json(), put);
    for wrong in [json!(7), json!(null), json!(["x"])] {
        lab.patch(&path).by(ADMIN).json(json!({"description": wrong})).await.blames("description");
    }
    lab.patch(&path).by(ADMIN).json(json!({"state": "finished"})).await.blames("state");
    lab.patch("/v1/jobs/999999999").by(ADMIN).json(json!({})).await.refuses(404, "not_found");
}
