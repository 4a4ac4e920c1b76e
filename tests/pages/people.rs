//! Users and tokens on the pages.

use serde_json::json;

use crate::harness::{ADMIN, Lab, PASSWORD, USER, Visitor};

#[tokio::test]
async fn staff_make_change_and_disable_users() {
    let lab = Lab::shared().await;
    let admin = Visitor::log_in(&lab, ADMIN).await;
    let name = lab.unique("grace");
    let bad =
        admin.post("/users", &[("username", "a b"), ("password", "short"), ("email", "x")]).await.expect(400).text();
    for text in ["letters, digits", "at least 8", "e-mail address", "value=\"a b\""] {
        assert!(bad.contains(text), "{text} is not in {bad}");
    }
    assert!(!bad.contains("short"), "the password was sent back");
    let made =
        admin.post("/users", &[("username", &name), ("password", PASSWORD), ("is_staff", "on")]).await.expect(303);
    let path = made.header("location").and_then(|way| way.split('?').next()).expect("a way").to_owned();
    assert!(
        admin
            .post("/users", &[("username", &name), ("password", PASSWORD)])
            .await
            .expect(400)
            .text()
            .contains("has this name")
    );
    lab.obtain(&name, PASSWORD).await.expect(200);
    let save =
        [("deed", "save"), ("username", name.as_str()), ("first_name", "Grace"), ("last_name", ""), ("email", "")];
    admin.post(&path, &save).await.expect(303);
    let user = lab.get(&format!("/v1{path}")).by(ADMIN).await.expect(200).json();
    assert_eq!((&user["first_name"], &user["is_staff"]), (&json!("Grace"), &json!(false)));
    admin.post(&path, &[("deed", "password"), ("password", "another password")]).await.expect(303);
    lab.obtain(&name, "another password").await.expect(200);
    admin.post(&path, &[("deed", "disable")]).await.expect(303);
    lab.obtain(&name, "another password").await.expect(401);
    admin.post(&path, &[("deed", "enable")]).await.expect(303);
    lab.obtain(&name, "another password").await.expect(200);
    let entries = lab.get("/v1/audit?action=pages.user.change").by(ADMIN).await.expect(200).json();
    assert!(entries.as_array().is_some_and(|entries| entries.len() >= 4), "{entries}");
    assert!(admin.get("/users").await.expect(200).text().contains(&name));
}

#[tokio::test]
async fn the_last_staff_user_stays() {
    let lab = Lab::start();
    let admin = Visitor::log_in(&lab, ADMIN).await;
    let page = admin.post("/users/1", &[("deed", "disable")]).await.expect(406).text();
    assert!(page.contains("the last active staff user"), "{page}");
    admin.get("/users/1").await.expect(200);
    admin.get("/users/99").await.expect(404);
    // A new password of one's own ends every session but this one.
    let reply = admin.post("/users/1", &[("deed", "password"), ("password", PASSWORD)]).await.expect(303);
    assert!(reply.header("set-cookie").is_some());
    admin.get("/users/1").await.expect(303);
}

#[tokio::test]
async fn a_token_is_shown_once_and_can_be_revoked() {
    let lab = Lab::shared().await;
    let user = Visitor::log_in(&lab, USER).await;
    let name = lab.unique("worker");
    let bad = user.post("/account/tokens", &[("name", ""), ("days", "0")]).await.expect(400).text();
    assert!(bad.contains("Must be from 1 to 36500."), "{bad}");
    assert!(bad.contains("name=\"name\" type=\"text\" value=\"\""), "{bad}");
    let page =
        user.post("/account/tokens", &[("name", &name), ("days", "30"), ("read_only", "on")]).await.expect(200).text();
    let token = crate::harness::attribute(&page, "id=\"made-token\">").split('<').next().expect("a token").to_owned();
    let with = |path: &str| lab.get(path).anonymous().header("authorization", format!("Bearer {token}"));
    with("/v1/auth/tokens").await.expect(200);
    let page = user.get("/account").await.expect(200).text();
    assert!(page.contains(&name) && !page.contains(&token), "{page}");
    let tokens = lab.get("/v1/auth/tokens").await.expect(200).json();
    let made = tokens.as_array().expect("a list").iter().find(|one| one["name"] == name.as_str()).expect("it is there");
    user.post(&format!("/tokens/{}/revoke", made["pk"]), &[]).await.expect(303);
    with("/v1/auth/tokens").await.expect(401);
    // Staff make one for another.
    let admin = Visitor::log_in(&lab, ADMIN).await;
    let pk = lab.user_pk(USER).await;
    let page = admin.post(&format!("/users/{pk}/tokens"), &[("name", "by staff")]).await.expect(200).text();
    assert!(page.contains("made-token"), "{page}");
    let tokens = lab.get("/v1/auth/tokens").await.expect(200).json();
    assert!(tokens.as_array().expect("a list").iter().any(|one| one["name"] == "by staff"), "{tokens}");
}

#[tokio::test]
async fn a_password_is_changed_by_whoever_knows_it() {
    let lab = Lab::start();
    let (here, there) = (Visitor::log_in(&lab, USER).await, Visitor::log_in(&lab, USER).await);
    let name = lab.username(USER).await;
    let change = |old: &str, new: &str, again: &str| {
        here.post("/account/password", &[("old", old), ("password", new), ("again", again)])
    };
    assert!(change("wrong", "a new password", "a new password").await.expect(400).text().contains("not your password"));
    assert!(change(PASSWORD, "a new password", "another").await.expect(400).text().contains("not the same"));
    assert!(change(PASSWORD, "short", "short").await.expect(400).text().contains("at least 8"));
    let reply = change(PASSWORD, "a new password", "a new password").await.expect(303);
    let here = Visitor::of(&lab, &reply).await;
    here.get("/account").await.expect(200);
    there.get("/account").await.expect(303);
    lab.obtain(&name, "a new password").await.expect(200);
}
