//! `labrun user`.

use serde_json::json;

use crate::harness::{Lab, PASSWORD, Person, USER};

#[tokio::test]
async fn users_are_made_kept_out_and_let_in() {
    let lab = Lab::start();
    let owner = Person::owner(&lab);
    std::fs::write(owner.folder().join("secret"), "a-good-password\n").expect("it can be written");
    let ada = ["user", "create", "ada", "--email", "ada@lab.example", "--first-name", "Ada"];
    owner.run(&ada).fails(2, "--generate");
    let made = owner.run(&[&ada[..], &["--new-password-file", "secret"]].concat()).expect(0);
    assert_eq!(made.out, "user ada (key 2) made\n");
    lab.obtain("ada", "a-good-password").await.expect(200);
    let grace = owner.run(&["user", "create", "grace", "--staff", "--generate"]).expect(0);
    assert!(grace.err.contains("shown this once"), "{grace:?}");
    lab.obtain("grace", grace.out.trim()).await.expect(200);
    owner.run(&["user", "create", "ada", "--generate"]).fails(2, "has this name");
    owner.run(&["user", "create", "a b", "--generate"]).fails(2, "letters");

    let table = owner.run(&["user", "list"]).expect(0);
    assert_eq!(table.rows()[0], ["PK", "USER", "NAME", "E-MAIL", "ROLE", "STATE", "LAST", "LOGIN"]);
    assert_eq!(table.rows()[1][..6], ["2", "ada", "Ada", "ada@lab.example", "user", "active"]);
    assert_eq!(owner.run(&["user", "disable", "ada"]).expect(0).out, "user ada (key 2) disabled\n");
    lab.obtain("ada", "a-good-password").await.expect(401);
    assert!(!owner.run(&["user", "list"]).expect(0).out.contains("ada"));
    assert!(owner.run(&["user", "list", "--all"]).expect(0).out.contains("disabled"));
    assert_eq!(owner.run(&["user", "enable", "2", "--json"]).expect(0).json()["is_active"], json!(true));
    let new = owner.run(&["user", "password", "ada", "--generate", "--json"]).expect(0).json();
    lab.obtain("ada", new["password"].as_str().expect("a password")).await.expect(200);
    // Of oneself: of the first staff user.
    std::fs::write(owner.folder().join("secret"), "another-good-one\n").expect("it can be written");
    owner.run(&["user", "password", "--new-password-file", "secret"]).expect(0);
    lab.obtain("admin", PASSWORD).await.expect(401);
    lab.obtain("admin", "another-good-one").await.expect(200);
    owner.run(&["user", "disable", "nobody"]).fails(3, "no user nobody");
    owner.run(&["user", "disable", "77"]).fails(3, "404");
}

#[tokio::test]
async fn users_are_for_staff() {
    let lab = Lab::start();
    let user = Person::with_token(&lab, USER).await;
    user.run(&["user", "list"]).fails(4, "Only staff");
    user.run(&["user", "create", "eve", "--generate"]).fails(4, "Only staff");
    user.run(&["user", "disable", "admin"]).fails(4, "403");
}
