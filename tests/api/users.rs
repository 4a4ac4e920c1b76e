//! `/v1/users`.

use serde_json::{Value, json};

use crate::harness::{ADMIN, Lab, OTHER, PASSWORD, USER};

const KEYS: [&str; 10] = [
    "pk",
    "username",
    "first_name",
    "last_name",
    "email",
    "is_active",
    "is_staff",
    "is_superuser",
    "date_joined",
    "last_login",
];

async fn make(lab: &Lab, more: Value) -> Value {
    let mut body = json!({"username": lab.unique("person"), "password": PASSWORD});
    body.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
    lab.post("/v1/users/create").by(ADMIN).json(body).await.expect(201).json()
}

#[tokio::test]
async fn create_gives_the_user_without_the_password() {
    let lab = Lab::shared().await;
    let name = lab.unique("ada");
    let body = json!({"username": name, "password": PASSWORD, "first_name": "Ada", "email": "ada@lab.example"});
    let made = lab.post("/v1/users/create").by(ADMIN).json(body).await.expect(201);
    assert_eq!(made.keys(), KEYS);
    let user = made.json();
    assert_eq!((&user["username"], &user["first_name"], &user["last_name"]), (&json!(name), &json!("Ada"), &json!("")));
    assert_eq!(
        (&user["is_active"], &user["is_staff"], &user["is_superuser"]),
        (&json!(true), &json!(false), &json!(false))
    );
    assert!(user["last_login"].is_null() && user["date_joined"].is_string());
    assert_eq!(lab.get(&format!("/v1/users/{}", made.pk())).by(ADMIN).await.expect(200).json(), user);
    lab.obtain(&name, PASSWORD).await.expect(200);
    let later = lab.get(&format!("/v1/users/{}", made.pk())).by(ADMIN).await.expect(200).json();
    assert!(later["last_login"].is_string(), "{later}");
}

#[tokio::test]
async fn what_can_not_be_is_400_and_named() {
    let lab = Lab::shared().await;
    let good = || json!({"username": lab.unique("x"), "password": PASSWORD});
    for (field, wrong) in [
        ("username", json!("")),
        ("username", json!("a b")),
        ("username", json!("x".repeat(151))),
        ("username", json!(lab.username(USER).await)),
        ("username", json!("admin")),
        ("password", json!("1234567")),
        ("password", json!(12345678)),
        ("email", json!("nonsense")),
        ("is_staff", json!("yes")),
        ("is_active", json!(1)),
        ("first_name", json!(null)),
        ("nickname", json!("x")),
    ] {
        let mut body = good();
        body[field] = wrong;
        lab.post("/v1/users/create").by(ADMIN).json(body).await.blames(field);
    }
    let mut short = good();
    short["password"] = json!("12345678");
    lab.post("/v1/users/create").by(ADMIN).json(short).await.expect(201);
}

#[tokio::test]
async fn users_are_found_by_key_and_by_name() {
    let lab = Lab::shared().await;
    let (pk, name) = (lab.user_pk(USER).await, lab.username(USER).await);
    let by_key = lab.get(&format!("/v1/users/{pk}")).await.expect(200).json();
    assert_eq!(lab.get(&format!("/v1/users/{name}")).await.expect(200).json(), json!([by_key]));
    assert_eq!(lab.get("/v1/users/nobody-at-all").by(ADMIN).await.expect(200).json(), json!([]));
    lab.get("/v1/users/nobody-at-all").await.refuses(403, "permission_denied");
    lab.get(&format!("/v1/users/{name}")).by(OTHER).await.refuses(403, "permission_denied");
    lab.get("/v1/users/999999999").await.refuses(404, "not_found");
    lab.get("/v1/users/admin").await.expect(403);
    // A name is for reading alone, whoever calls.
    for method in ["PUT", "PATCH", "DELETE", "POST"] {
        let call = || lab.request(method, &format!("/v1/users/{name}")).json(json!({}));
        for request in [call().by(ADMIN), call(), call().anonymous()] {
            let reply = request.await.refuses(405, "method_not_allowed");
            assert_eq!(reply.header("allow"), Some("GET, HEAD"), "{reply}");
        }
    }
    assert_eq!(lab.request("HEAD", &format!("/v1/users/{name}")).await.status, 200);
}

#[tokio::test]
async fn put_wants_the_name_and_patch_wants_nothing() {
    let lab = Lab::shared().await;
    let user = make(&lab, json!({"first_name": "Ada"})).await;
    let path = format!("/v1/users/{}", user["pk"]);
    assert_eq!(lab.patch(&path).by(ADMIN).json(json!({})).await.expect(200).json(), user);
    lab.put(&path).by(ADMIN).json(json!({"first_name": "Grace"})).await.blames("username");
    let name = lab.unique("renamed");
    let put = lab.put(&path).by(ADMIN).json(json!({"username": name, "last_name": "L"})).await.expect(200).json();
    assert_eq!((&put["username"], &put["last_name"]), (&json!(name), &json!("L")));
    // What is read-only is passed over, so that what was read can be sent back.
    let back = lab.put(&path).by(ADMIN).json(put.clone()).await.expect(200).json();
    assert_eq!(back, put);
    lab.patch(&path).by(ADMIN).json(json!({"username": "admin"})).await.blames("username");
    lab.patch(&path).by(ADMIN).json(json!({"is_superuser": true})).await.expect(200);
    assert_eq!(lab.get(&path).by(ADMIN).await.json()["is_superuser"], false);
}

#[tokio::test]
async fn delete_deactivates_and_the_row_stays() {
    let lab = Lab::shared().await;
    let user = make(&lab, json!({})).await;
    let path = format!("/v1/users/{}", user["pk"]);
    assert!(lab.delete(&path).by(ADMIN).await.expect(204).body.is_empty());
    assert_eq!(lab.get(&path).by(ADMIN).await.expect(200).json()["is_active"], false);
    lab.delete(&path).by(ADMIN).await.expect(204);
    lab.obtain(user["username"].as_str().expect("a name"), PASSWORD).await.expect(401);
    lab.delete("/v1/users/999999999").by(ADMIN).await.refuses(404, "not_found");
}

#[tokio::test]
async fn the_last_active_staff_user_stays_one() {
    let lab = Lab::start();
    for change in [json!({"is_active": false}), json!({"is_staff": false})] {
        lab.patch("/v1/users/1").by(ADMIN).json(change).await.refuses(406, "last_staff_user");
    }
    lab.delete("/v1/users/1").by(ADMIN).await.refuses(406, "last_staff_user");
    let sleeper = make(&lab, json!({"is_staff": true, "is_active": false})).await;
    lab.delete("/v1/users/1").by(ADMIN).await.refuses(406, "last_staff_user");
    let path = format!("/v1/users/{}", sleeper["pk"]);
    lab.patch(&path).by(ADMIN).json(json!({"is_active": true})).await.expect(200);
    lab.delete("/v1/users/1").by(ADMIN).await.expect(204);
}

#[tokio::test]
async fn list_takes_filters_and_never_shows_a_password() {
    let lab = Lab::shared().await;
    let name = lab.unique("needle");
    let pk = make(&lab, json!({"username": name})).await["pk"].as_i64().expect("a key");
    let spec = json!({"expressions": [{"type": "exact", "field": "username", "value": name}]});
    let reply = lab.post("/v1/users/list").by(ADMIN).json(spec).await.expect(200);
    assert_eq!(reply.pks(), [pk]);
    assert!(!reply.text().contains("argon2") && !reply.text().contains("password"));
    for field in ["password", "password_hash", "credentials"] {
        let spec = json!({"expressions": [{"type": "isnull", "field": field}]});
        lab.post("/v1/users/list").by(ADMIN).json(spec).await.expect(400);
    }
}
