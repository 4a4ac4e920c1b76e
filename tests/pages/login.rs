//! Logging in and out, and how sessions end.

use serde_json::json;

use crate::harness::{ADMIN, Lab, OTHER, PASSWORD, Setup, USER, Visitor};

#[tokio::test]
async fn a_log_in_gives_a_cookie_and_leads_back() {
    let lab = Lab::shared().await;
    let reply = lab.get("/jobs?q=phase%3Astarted").anonymous().await.expect(303);
    let way = reply.header("location").expect("a way").to_owned();
    assert_eq!(way, "/login?next=%2Fjobs%3Fq%3Dphase%253Astarted");
    let page = lab.get(&way).anonymous().await.expect(200).text();
    let next = crate::harness::attribute(&page, r#"name="next" value=""#).to_owned();
    assert_eq!(next, "/jobs?q=phase%3Astarted");
    let name = lab.username(USER).await;
    let reply = Visitor::try_to_log_in(&lab, &name, PASSWORD, &next).await.expect(303);
    assert_eq!(reply.header("location"), Some(next.as_str()));
    let cookie = reply.header("set-cookie").expect("a cookie");
    for part in ["; Path=/", "; HttpOnly", "; SameSite=Lax"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "it came in clear: {cookie}");
    let visitor = Visitor::of(&lab, &reply).await;
    assert!(visitor.get("/jobs").await.expect(200).text().contains(&name));
    // Whoever is logged in has no need of the form.
    assert_eq!(visitor.get("/login?next=/jobs/7").await.expect(303).header("location"), Some("/jobs/7"));
    let behind_tls = Visitor::try_to_log_in(&lab, &name, PASSWORD, "/").header("x-forwarded-proto", "https").await;
    assert!(behind_tls.header("set-cookie").is_some_and(|cookie| cookie.contains("; Secure")));
}

#[tokio::test]
async fn a_wrong_password_is_told_and_slowed_down() {
    let lab = Lab::start();
    let name = lab.username(USER).await;
    for (user, password) in [(name.as_str(), "wrong"), ("nobody", PASSWORD), ("", "")] {
        let reply = Visitor::try_to_log_in(&lab, user, password, "//evil").await.expect(401);
        let page = reply.text();
        assert!(page.contains("There is no active user of this name and password."), "{reply}");
        assert!(page.contains(r#"name="next" value="/""#), "{reply}");
        assert!(reply.header("set-cookie").is_none() && !page.contains(PASSWORD));
    }
    let mut slowed = None;
    for _ in 0..20 {
        let reply = Visitor::try_to_log_in(&lab, &name, "wrong", "/").await;
        if reply.status == 429 {
            slowed = Some(reply);
            break;
        }
        reply.expect(401);
    }
    let slowed = slowed.expect("guessing is slowed down");
    assert!(slowed.header("retry-after").is_some() && slowed.text().contains("Too many failed logins"), "{slowed}");
    // The API counts the same tries.
    lab.obtain(&name, PASSWORD).await.expect(429);
    let entries = lab.get("/v1/audit?action=pages.log_in").by(ADMIN).await.expect(200).json();
    let tried = entries.as_array().expect("a list").iter().filter(|entry| entry["username"] == name.as_str());
    assert!(tried.count() >= 5, "{entries}");
}

#[tokio::test]
async fn a_user_name_in_the_form_stays_text() {
    let lab = Lab::shared().await;
    let name = r#""><script>alert(1)</script>"#;
    let page = Visitor::try_to_log_in(&lab, name, "x", "/").await.expect(401).text();
    assert!(!page.contains("<script>alert"), "{page}");
}

#[tokio::test]
async fn a_log_out_ends_one_session_or_all() {
    let lab = Lab::start();
    let visitors =
        [Visitor::log_in(&lab, USER).await, Visitor::log_in(&lab, USER).await, Visitor::log_in(&lab, USER).await];
    let other = Visitor::log_in(&lab, OTHER).await;
    let [one, two, three] = &visitors;
    let reply = one.post("/logout", &[]).await.expect(303);
    assert!(reply.header("set-cookie").is_some_and(|cookie| cookie.contains("Max-Age=0")), "{reply}");
    one.get("/jobs").await.expect(303);
    two.get("/jobs").await.expect(200);
    two.post("/logout", &[("everywhere", "1")]).await.expect(303);
    three.get("/jobs").await.expect(303);
    other.get("/jobs").await.expect(200);
    // What has ended stays so.
    lab.server(|server| server.restart());
    one.get("/jobs").await.expect(303);
    other.get("/jobs").await.expect(200);
}

#[tokio::test]
async fn a_session_ends_with_its_user_and_its_password() {
    let lab = Lab::start_with(Setup::default().with(&["--watch-keep-alive-s", "1"]));
    let (user, other) = (Visitor::log_in(&lab, USER).await, Visitor::log_in(&lab, OTHER).await);
    let mut live = user.live("/jobs/live?keys=").await;
    let change = |pk: i64, body| lab.patch(&format!("/v1/users/{pk}")).by(ADMIN).json(body);
    change(lab.user_pk(USER).await, json!({"password": "another-password"})).await.expect(200);
    change(lab.user_pk(OTHER).await, json!({"is_active": false})).await.expect(200);
    user.get("/jobs").await.expect(303);
    other.get("/jobs").await.expect(303);
    change(lab.user_pk(OTHER).await, json!({"is_active": true})).await.expect(200);
    other.get("/jobs").await.expect(303);
    // A stream that is open ends with the session, at its next sign of life.
    while live.next().await.is_some() {}
}

#[tokio::test]
async fn a_session_that_is_not_used_runs_out_and_its_stream_ends() {
    let lab = Lab::start_with(Setup::default().with(&["--session-lifetime-s", "2", "--watch-keep-alive-s", "1"]));
    let visitor = Visitor::log_in(&lab, USER).await;
    let mut live = visitor.live("/jobs/live?keys=").await;
    // Watching alone does not keep it.
    assert!(live.next().await.is_none(), "nothing happens until the session is over");
    let reply = visitor.get("/jobs/7?x=1").await.expect(303);
    assert_eq!(reply.header("location"), Some("/login?next=%2Fjobs%2F7%3Fx%3D1"));
}
