//! Callers who are not who they say.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Lab, OTHER, USER};

#[tokio::test]
async fn headers_that_are_no_bearer_token_are_401() {
    let lab = Lab::shared().await;
    let token = lab.token(USER).await;
    let node = lab.node(USER).await;
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "bearer  ",
        "Basic YTpi",
        "Token x",
        "Bearer a.b.c",
        "Bearer ..",
        "Bearer null",
        &token,
        &format!("Bearer {token}x"),
        &format!("Bearer {token} x"),
        &format!("Bearer x{token}"),
        &format!("Bearer {}", token.to_uppercase()),
        &format!("Bearer {}", "x".repeat(3_000)),
    ] {
        let reply = lab.get("/v1/nodes/ping").node(node).header("authorization", value).await;
        let reply = reply.refuses(401, "not_authenticated");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"), "{value:?}");
    }
    lab.get("/v1/nodes/ping").node(node).header("authorization", b"Bearer \xff\xfe").await.expect(401);
    let twice = lab.get("/v1/nodes/ping").node(node).header("authorization", format!("Bearer {token}"));
    twice.header("authorization", format!("Bearer {token}")).await.expect(401);
    lab.get("/v1/nodes/ping").node(node).anonymous().header("cookie", format!("access={token}")).await.expect(401);
    lab.get(&format!("/v1/nodes/ping?access_token={token}")).node(node).anonymous().await.expect(401);
}

#[tokio::test]
async fn a_token_that_was_changed_is_401() {
    let lab = Lab::shared().await;
    let token = lab.token(USER).await;
    let parts: Vec<&str> = token.split('.').collect();
    let part = |index: usize| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[index]).expect("base64")).expect("JSON")
    };
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let with = |name: &str, value: Value| {
        let mut claims = part(1);
        claims[name] = value;
        format!("{}.{}.{}", parts[0], encode(&claims), parts[2])
    };
    let header = |name: &str, value: &str| {
        let mut header = part(0);
        header[name] = json!(value);
        encode(&header)
    };
    for forged in [
        with("upk", json!(1)),
        with("jtt", json!("refresh")),
        with("exp", json!(i64::MAX)),
        format!("{}.{}.", header("alg", "none"), parts[1]),
        format!("{}.{}.{}", header("alg", "none"), parts[1], parts[2]),
        format!("{}.{}.{}", header("alg", "HS512"), parts[1], parts[2]),
        format!("{}.{}.{}", header("alg", "RS256"), parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode([0; 32])),
        format!("{}.{}", parts[0], parts[1]),
        format!("{token}.{}", parts[2]),
        format!("{token}="),
    ] {
        let bearer = format!("Bearer {forged}");
        lab.post("/v1/jobs/list").header("authorization", bearer).await.refuses(401, "not_authenticated");
        lab.post("/v1/auth/verify").anonymous().json(json!({"token": forged})).await.expect(401);
        lab.post("/v1/auth/refresh").anonymous().json(json!({"refresh": forged})).await.expect(401);
    }
}

#[tokio::test]
async fn a_token_of_another_servers_key_is_401() {
    let (lab, stranger) = (Lab::shared().await, Lab::start());
    let bearer = format!("Bearer {}", stranger.token(ADMIN).await);
    stranger.post("/v1/users/list").header("authorization", &bearer).await.expect(200);
    lab.post("/v1/users/list").header("authorization", &bearer).await.expect(401);
}

#[tokio::test]
async fn a_refresh_token_is_no_access_token_nor_the_other_way_round() {
    let lab = Lab::shared().await;
    let name = lab.username(USER).await;
    let tokens = lab.obtain(&name, crate::harness::PASSWORD).await.expect(200).json();
    let refresh = tokens["refresh"].as_str().expect("a refresh token");
    lab.post("/v1/jobs/list").header("authorization", format!("Bearer {refresh}")).await.expect(401);
    lab.post("/v1/auth/refresh").anonymous().json(json!({"refresh": tokens["access"]})).await.expect(401);
}

#[tokio::test]
async fn a_node_id_that_is_none_is_400_on_every_route() {
    let lab = Lab::shared().await;
    let job = lab.job().await;
    for bad in ["abc", "", "1.5", "-", "99999999999999999999", "9223372036854775807", "0", "-1", "1 2", "1,2", "0x1"] {
        for request in [
            lab.get(&format!("/v1/jobs/{job}")),
            lab.get(&format!("/v1/jobs/{job}/acquire")),
            lab.post("/v1/users/list").by(ADMIN),
            lab.post("/v1/users/list"),
            lab.get("/v1/hardware/1"),
            // 400 of the Node-Id comes before 404 of the object.
            lab.get("/v1/jobs/9223372036854775807"),
        ] {
            request.header("node-id", bad).await.refuses(400, "bad_node_id");
        }
        lab.get(&format!("/v1/jobs/{job}")).anonymous().header("node-id", bad).await.expect(401);
    }
    let node = lab.node(USER).await;
    let twice = lab.get("/v1/nodes/ping").header("node-id", node.to_string()).header("node-id", node.to_string());
    twice.await.expect(400);
}

#[tokio::test]
async fn somebody_elses_node_is_403_on_every_route_and_behind_404() {
    let lab = Lab::shared().await;
    let (job, node) = (lab.job().await, lab.node(USER).await);
    for request in [
        lab.get(&format!("/v1/jobs/{job}")),
        lab.get(&format!("/v1/jobs/{job}/acquire")),
        lab.get("/v1/nodes/ping"),
        lab.post("/v1/jobs/list").text("{"),
        lab.put(&format!("/v1/nodes/{node}")),
    ] {
        request.by(OTHER).node(node).await.refuses(403, "permission_denied");
    }
    lab.get("/v1/jobs/9223372036854775807").by(OTHER).node(node).await.expect(404);
    assert_eq!(lab.read(job).await["node"], Value::Null);
}

#[tokio::test]
async fn the_checks_come_in_the_order_of_the_contract() {
    let lab = Lab::shared().await;
    let held = lab.held().await;
    let there = format!("/v1/jobs/{}/progress/x", held.job);
    let gone = "/v1/jobs/9223372036854775807/progress/x";
    let others = lab.node(OTHER).await;
    // Everything is wrong; mended piece by piece, the next answer shows.
    lab.post("/v1/jobs/9/progres/x").anonymous().header("node-id", "x").text("{").await.expect(404);
    lab.put(gone).anonymous().header("node-id", "x").text("{").await.expect(405);
    lab.post(gone).anonymous().header("node-id", "x").text("{").await.expect(401);
    lab.post(gone).header("node-id", "x").text("{").await.expect(400);
    lab.post(gone).node(others).text("{").await.expect(404);
    lab.post(&there).node(others).text("{").await.expect(403);
    lab.post(&there).by(OTHER).node(others).text("{").await.expect(403);
    lab.post(&there).node(held.node).text("{").await.expect(400);
    let there = there.replace("/x", "/0.5");
    lab.post(&there).node(held.node).text("{").await.expect(400);
    lab.post(&there).node(held.node).text("{}").await.expect(406);
    // A path that is no text is malformed as a body can be: nobody learns of it who may not call.
    let (there, gone) = (there.replace("/0.5", "/%FF"), gone.replace("/x", "/%FF"));
    lab.put(&there).anonymous().header("node-id", "x").await.expect(405);
    lab.post(&there).anonymous().header("node-id", "x").await.expect(401);
    lab.post(&there).header("node-id", "x").await.refuses(400, "bad_node_id");
    lab.post(&gone).node(others).await.expect(404);
    lab.post(&there).node(others).await.expect(403);
    lab.post(&there).node(held.node).await.refuses(400, "bad_path");
}
