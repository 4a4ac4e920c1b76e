//! `/v1/auth`: names and passwords for tokens, and tokens for tokens.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Lab, PASSWORD, Setup, USER};

fn claims(token: &Value) -> Value {
    let part = token.as_str().and_then(|token| token.split('.').nth(1)).expect("a token has three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

#[tokio::test]
async fn obtain_gives_both_tokens_with_the_claims_of_the_contract() {
    let lab = Lab::shared().await;
    let (name, pk) = (lab.username(USER).await, lab.user_pk(USER).await);
    let reply = lab.obtain(&name, PASSWORD).await.expect(200);
    assert_eq!(reply.keys(), ["access", "refresh"]);
    let tokens = reply.json();
    for (kind, lifetime) in [("access", 300), ("refresh", 28_800)] {
        let claims = claims(&tokens[kind]);
        assert_eq!((&claims["upk"], &claims["jtt"]), (&json!(pk), &json!(kind)));
        let number = |name: &str| claims[name].as_i64().expect("seconds");
        assert_eq!(number("exp") - number("iat"), lifetime, "{kind}");
        assert!(claims["jti"].is_string());
    }
}

#[tokio::test]
async fn obtain_takes_a_form_as_well() {
    let lab = Lab::shared().await;
    let form = format!("username={}&password={PASSWORD}", lab.username(USER).await);
    let request = lab.post("/v1/auth/obtain").anonymous().header("content-type", "application/x-www-form-urlencoded");
    request.bytes(form).await.expect(200);
}

#[tokio::test]
async fn a_wrong_pair_is_401_and_no_answer_tells_what_is_wrong_with_it() {
    let lab = Lab::shared().await;
    let name = lab.unique("sleeper");
    let body = json!({"username": name, "password": PASSWORD, "is_active": false});
    lab.post("/v1/users/create").by(ADMIN).json(body).await.expect(201);
    let mut answers = Vec::new();
    for (name, password) in [
        (lab.username(USER).await.as_str(), "wrong-password"),
        ("nobody-of-this-name", "wrong-password"),
        (name.as_str(), PASSWORD),
        (name.as_str(), "wrong-password"),
    ] {
        answers.push(lab.obtain(name, password).await.refuses(401, "not_authenticated").json());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn fields_that_are_missing_wrong_or_unknown_are_named() {
    let lab = Lab::shared().await;
    let post = |path: &'static str, body: Value| {
        let lab = &lab;
        async move { lab.post(path).anonymous().json(body).await }
    };
    post("/v1/auth/obtain", json!({})).await.blames("password").blames("username");
    post("/v1/auth/obtain", json!({"username": 1, "password": "x"})).await.blames("username");
    post("/v1/auth/obtain", json!({"username": "x", "password": "x", "otp": "1"})).await.blames("otp");
    post("/v1/auth/refresh", json!({})).await.blames("refresh");
    post("/v1/auth/verify", json!({"token": null})).await.blames("token");
}

#[tokio::test]
async fn refresh_gives_an_access_token_that_is_good_and_verify_takes_both_kinds() {
    let lab = Lab::shared().await;
    let tokens = lab.obtain(&lab.username(USER).await, PASSWORD).await.expect(200).json();
    let fresh = lab.post("/v1/auth/refresh").anonymous().json(json!({"refresh": tokens["refresh"]})).await.expect(200);
    assert_eq!(fresh.keys(), ["access"]);
    let access = fresh.json()["access"].clone();
    let bearer = format!("Bearer {}", access.as_str().expect("a token"));
    lab.post("/v1/jobs/list").header("authorization", bearer).await.expect(200);
    for token in [&access, &tokens["access"], &tokens["refresh"]] {
        let reply = lab.post("/v1/auth/verify").anonymous().json(json!({"token": token})).await.expect(200);
        assert_eq!(reply.json(), json!({}));
    }
}

#[tokio::test]
async fn tokens_die_with_the_password_and_with_the_user() {
    let lab = Lab::shared().await;
    let name = lab.unique("leaver");
    let body = json!({"username": name, "password": PASSWORD});
    let pk = lab.post("/v1/users/create").by(ADMIN).json(body).await.expect(201).pk();
    let path = format!("/v1/users/{pk}");
    for change in [json!({"password": "another-password-2"}), json!({"is_active": false})] {
        let password = if change["password"].is_string() { PASSWORD } else { "another-password-2" };
        let tokens = lab.obtain(&name, password).await.expect(200).json();
        let bearer = format!("Bearer {}", tokens["access"].as_str().expect("a token"));
        lab.post("/v1/jobs/list").header("authorization", &bearer).await.expect(200);
        lab.patch(&path).by(ADMIN).json(change).await.expect(200);
        lab.post("/v1/jobs/list").header("authorization", &bearer).await.refuses(401, "not_authenticated");
        for (path, body) in [
            ("/v1/auth/refresh", json!({"refresh": tokens["refresh"]})),
            ("/v1/auth/verify", json!({"token": tokens["access"]})),
        ] {
            lab.post(path).anonymous().json(body).await.expect(401);
        }
    }
    // A user who comes back does not bring the old tokens back.
    lab.patch(&path).by(ADMIN).json(json!({"is_active": true})).await.expect(200);
    lab.obtain(&name, "another-password-2").await.expect(200);
}

#[tokio::test]
async fn access_tokens_run_out_and_refresh_tokens_renew_them() {
    let lab = Lab::start_with(Setup::default().with(&["--access-token-lifetime-s", "1"]));
    let tokens = lab.obtain(ADMIN, PASSWORD).await.expect(200).json();
    let bearer = |token: &Value| format!("Bearer {}", token.as_str().expect("a token"));
    let end = crate::harness::deadline();
    while lab.post("/v1/users/list").header("authorization", bearer(&tokens["access"])).await.status != 401 {
        assert!(std::time::Instant::now() < end, "the token does not run out");
    }
    let fresh = lab.post("/v1/auth/refresh").anonymous().json(json!({"refresh": tokens["refresh"]})).await.expect(200);
    lab.post("/v1/auth/verify").anonymous().json(json!({"token": fresh.json()["access"]})).await.expect(200);
}

#[tokio::test]
async fn failed_logins_are_throttled_for_their_name_alone() {
    let lab = Lab::start();
    let name = lab.username(USER).await;
    let mut failed = 0;
    let throttled = loop {
        let reply = lab.obtain(&name, "wrong-password").await;
        if reply.status == 429 {
            break reply;
        }
        reply.expect(401);
        failed += 1;
        assert!(failed < 100, "nothing stops a guesser");
    };
    assert!(failed >= 3, "{failed} tries are too few for a slip of the finger");
    let wait: u64 = throttled.header("retry-after").and_then(|text| text.parse().ok()).expect("Retry-After");
    assert!((1..=3_600).contains(&wait), "{wait}");
    // The right password does not get past either, or a guesser would learn it.
    lab.obtain(&name, PASSWORD).await.expect(429);
    lab.obtain(ADMIN, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn good_logins_are_never_throttled() {
    let lab = Lab::shared().await;
    let name = lab.username(USER).await;
    for _ in 0..25 {
        lab.obtain(&name, PASSWORD).await.expect(200);
    }
}

/// More log-ins of one user at the same time than may fail at once.
const AT_ONCE: usize = 30;

/// Sends the same name and password many times at once; gives the statuses.
async fn all_at_once(lab: &Lab, name: &str, password: &str) -> Vec<u16> {
    let tries = (0..AT_ONCE).map(|_| async { lab.obtain(name, password).await.status });
    futures_util::future::join_all(tries).await
}

#[tokio::test]
async fn good_logins_at_the_same_time_wait_for_each_other_and_are_never_throttled() {
    let lab = Lab::shared().await;
    let name = lab.username(USER).await;
    assert_eq!(all_at_once(&lab, &name, PASSWORD).await, [200; AT_ONCE]);
}

#[tokio::test]
async fn guesses_at_the_same_time_get_no_more_verdicts_than_one_after_the_other() {
    let lab = Lab::start();
    let name = lab.username(USER).await;
    let statuses = all_at_once(&lab, &name, "wrong-password").await;
    let count = |status: u16| statuses.iter().filter(|given| **given == status).count();
    // One more may have come back meanwhile, where the tries take long.
    assert!((10..=12).contains(&count(401)), "{statuses:?}");
    assert_eq!(count(401) + count(429), AT_ONCE, "{statuses:?}");
}
