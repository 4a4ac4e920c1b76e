//! `/v1/nodes`.

use serde_json::{Value, json};

use crate::harness::{ADMIN, Lab, OTHER, USER};

const KEYS: [&str; 10] = [
    "pk",
    "ip",
    "index",
    "driver_version",
    "hardware_generation",
    "gpu_mem",
    "cpu_mem",
    "last_seen",
    "current_job",
    "creator",
];

#[tokio::test]
async fn create_gives_the_node_of_the_caller() {
    let lab = Lab::shared().await;
    let body = json!({"ip": lab.unique("fe80"), "index": 3, "driver_version": "535.104", "hardware_generation": 1,
        "gpu_mem": 8_589_934_592_i64, "cpu_mem": 17_179_869_184_i64});
    let made = lab.post("/v1/nodes/create").json(body.clone()).await.expect(201);
    let mut keys = made.keys();
    keys.sort();
    let mut wanted = KEYS.to_vec();
    wanted.sort_unstable();
    assert_eq!(keys, wanted);
    let node = made.json();
    for (name, value) in body.as_object().expect("an object") {
        assert_eq!(&node[name], value, "{name}");
    }
    assert_eq!((&node["creator"], &node["current_job"]), (&json!(lab.user_pk(USER).await), &Value::Null));
    assert_eq!(lab.read_node(made.pk()).await, node);
}

#[tokio::test]
async fn what_can_not_be_is_400_and_named() {
    let lab = Lab::shared().await;
    let taken = lab.read_node(lab.node(USER).await).await["ip"].clone();
    for (field, wrong) in [
        ("ip", json!("")),
        ("ip", json!("x".repeat(40))),
        ("ip", taken),
        ("ip", json!(7)),
        ("index", json!(-1)),
        ("index", json!(32_768)),
        ("index", json!("0")),
        ("index", json!(0.5)),
        ("driver_version", json!("x".repeat(17))),
        ("hardware_generation", json!(999_999)),
        ("hardware_generation", json!("Pascal")),
        ("gpu_mem", json!(-1)),
        ("cpu_mem", json!(null)),
        ("colour", json!("red")),
    ] {
        let mut body = json!({"ip": lab.unique("n"), "index": 0, "cpu_mem": 1});
        body[field] = wrong.clone();
        let reply = lab.post("/v1/nodes/create").json(body).await.expect(400);
        let names = reply.json()["errors"].as_object().expect("errors").keys().cloned().collect::<Vec<_>>();
        // A pair that is taken is told of either half.
        assert!(
            names.contains(&field.to_owned()) || (field == "ip" && names.contains(&"index".to_owned())),
            "{field}: {wrong} {reply}"
        );
    }
    for missing in ["ip", "index", "cpu_mem"] {
        let mut body = json!({"ip": lab.unique("n"), "index": 0, "cpu_mem": 1});
        body.as_object_mut().expect("an object").remove(missing);
        lab.post("/v1/nodes/create").json(body).await.blames(missing);
    }
}

#[tokio::test]
async fn one_machine_has_many_nodes_by_index() {
    let lab = Lab::shared().await;
    let ip = lab.unique("many");
    for index in [0, 1, 32_767] {
        lab.post("/v1/nodes/create").json(json!({"ip": ip, "index": index, "cpu_mem": 1})).await.expect(201);
    }
    lab.post("/v1/nodes/create").by(OTHER).json(json!({"ip": ip, "index": 1, "cpu_mem": 1})).await.expect(400);
}

#[tokio::test]
async fn put_and_patch_change_what_they_name() {
    let lab = Lab::shared().await;
    let node = lab.node(USER).await;
    let path = format!("/v1/nodes/{node}");
    let before = lab.read_node(node).await;
    let patched = lab.patch(&path).by(ADMIN).json(json!({"gpu_mem": 5})).await.expect(200).json();
    assert_eq!((&patched["gpu_mem"], &patched["ip"]), (&json!(5), &before["ip"]));
    let cleared = lab.patch(&path).by(ADMIN).json(json!({"gpu_mem": null})).await.expect(200).json();
    assert!(cleared["gpu_mem"].is_null());
    lab.put(&path).by(ADMIN).json(json!({"index": 1})).await.blames("ip").blames("cpu_mem");
    let whole = json!({"ip": lab.unique("moved"), "index": 9, "cpu_mem": 2});
    let put = lab.put(&path).node(node).json(whole).await.expect(200).json();
    assert_eq!((&put["index"], &put["cpu_mem"]), (&json!(9), &json!(2)));
    assert_eq!(lab.put(&path).by(ADMIN).json(put.clone()).await.expect(200).json()["ip"], put["ip"]);
}

#[tokio::test]
async fn a_ping_and_every_other_call_for_it_move_last_seen() {
    let lab = Lab::shared().await;
    let node = lab.node(USER).await;
    let first = lab.get("/v1/nodes/ping").node(node).await.expect(200).json()["last_seen"].clone();
    assert!(first.is_string());
    lab.post("/v1/jobs/list").node(node).json(json!({"limit": 1})).await.expect(200);
    let second = lab.read_node(node).await["last_seen"].clone();
    assert!(second.as_str() > first.as_str(), "{second} after {first}");
    // A look at it is no call for it; a refused call is none either.
    lab.get("/v1/nodes/ping").by(OTHER).node(node).await.expect(403);
    assert_eq!(lab.read_node(node).await["last_seen"], second);
    let spec = json!({"expressions": [{"type": "exact", "field": "pk", "value": node}]});
    assert_eq!(lab.post("/v1/nodes/list").json(spec).await.expect(200).json()[0]["last_seen"], second);
    lab.get("/v1/nodes/ping").await.refuses(403, "permission_denied");
    lab.get("/v1/jobs/9223372036854775807").by(OTHER).node(node).await.expect(404);
    assert_eq!(lab.read_node(node).await["last_seen"], second);
    // One that ends for want of its object was made for it all the same.
    lab.get("/v1/jobs/9223372036854775807").node(node).await.expect(404);
    let third = lab.read_node(node).await["last_seen"].clone();
    assert!(third.as_str() > second.as_str(), "{third} after {second}");
}

#[tokio::test]
async fn a_ping_by_head_is_a_sign_of_life_too() {
    let lab = Lab::shared().await;
    let node = lab.node(USER).await;
    let before = lab.read_node(node).await["last_seen"].clone();
    let reply = lab.request("HEAD", "/v1/nodes/ping").node(node).await.expect(200);
    assert_eq!((reply.body.len(), reply.header("cache-control")), (0, Some("no-store")));
    assert!(lab.read_node(node).await["last_seen"].as_str() > before.as_str());
    let allowed = lab.put("/v1/nodes/ping").node(node).await.expect(405);
    assert_eq!(allowed.header("allow"), Some("GET, HEAD"));
}

#[tokio::test]
async fn a_node_that_holds_an_unfinished_job_stays() {
    let lab = Lab::shared().await;
    for held in [lab.held().await, lab.started().await, lab.errored().await] {
        lab.delete(&format!("/v1/nodes/{}", held.node)).by(ADMIN).await.refuses(406, "holds_job");
        lab.staff(held.job, "abort").await.expect(200);
        lab.delete(&format!("/v1/nodes/{}", held.node)).by(ADMIN).await.expect(204);
        lab.get(&format!("/v1/nodes/{}", held.node)).await.refuses(404, "not_found");
        lab.get("/v1/nodes/ping").node(held.node).await.refuses(400, "bad_node_id");
    }
    for held in [lab.finished().await, lab.cancelled().await] {
        lab.delete(&format!("/v1/nodes/{}", held.node)).node(held.node).await.expect(204);
        assert!(lab.read(held.job).await["node"].is_null());
    }
}

#[tokio::test]
async fn keys_of_destroyed_nodes_are_never_used_again() {
    let lab = Lab::start();
    let node = lab.node(USER).await;
    lab.delete(&format!("/v1/nodes/{node}")).by(ADMIN).await.expect(204);
    assert!(lab.node(USER).await > node);
}
