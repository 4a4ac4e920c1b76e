//! The link of the first start.

use crate::harness::{Lab, Setup, Visitor, form, until};

fn start() -> (Lab, String) {
    let lab = Lab::start_with(Setup { without_password: true, ..Setup::default() });
    let said = until("the link", || lab.server(|server| server.said().split("/setup?key=").nth(1).map(str::to_owned)));
    let key = said.split_whitespace().next().expect("a key").to_owned();
    assert_eq!(key.len(), 64);
    (lab, key)
}

fn choose<'a>(lab: &'a Lab, key: &str, password: &str) -> crate::harness::Request<'a> {
    form(lab.post("/setup").anonymous(), &[("key", key), ("password", password), ("again", password)])
}

#[tokio::test]
async fn whoever_has_the_link_chooses_the_password_once() {
    let (lab, key) = start();
    for bad in ["", "x", &key[1..]] {
        lab.get(&format!("/setup?key={bad}")).anonymous().header("accept", "text/html").await.expect(403);
        choose(&lab, bad, "a long password").await.expect(403);
    }
    lab.get(&format!("/setup?key={key}")).anonymous().await.expect(200);
    choose(&lab, &key, "short").await.expect(400);
    choose(&lab, &key, "a long password").header("sec-fetch-site", "cross-site").await.expect(403);
    let reply = choose(&lab, &key, "a long password").await.expect(303);
    Visitor::of(&lab, &reply).await.get("/users").await.expect(200);
    choose(&lab, &key, "another password").await.expect(403);
    lab.obtain("admin", "a long password").await.expect(200);
}

#[tokio::test]
async fn a_log_in_or_a_restart_ends_the_link() {
    let (lab, key) = start();
    let said = lab.server(|server| server.said());
    let made = said.split("with the password ").nth(1).and_then(|rest| rest.split(';').next()).expect("a password");
    lab.obtain("admin", "wrong").await.expect(401);
    lab.get(&format!("/setup?key={key}")).anonymous().await.expect(200);
    lab.obtain("admin", made).await.expect(200);
    lab.get(&format!("/setup?key={key}")).anonymous().header("accept", "text/html").await.expect(403);

    let (lab, key) = start();
    lab.server(crate::harness::Server::restart);
    choose(&lab, &key, "a long password").await.expect(403);
}
