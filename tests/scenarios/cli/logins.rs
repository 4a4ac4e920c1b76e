//! Which server, and as whom.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{ADMIN, Lab, PASSWORD, Person, Server, Setup, USER};

fn mode(path: impl AsRef<Path>) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

fn address(lab: &Lab) -> String {
    format!("http://127.0.0.1:{}", lab.port())
}

#[tokio::test]
async fn the_owner_of_the_data_directory_needs_no_password() {
    let lab = Lab::start();
    let owner = Person::owner(&lab);
    let who = owner.run(&["whoami"]).expect(0);
    assert_eq!(who.rows()[1][..3], ["user", "admin", "(staff)"], "{who:?}");
    assert_eq!(owner.run(&["whoami", "--json"]).expect(0).json()["server"], address(&lab));
    // By another name of the loopback, and with the port of another server.
    let localhost = format!("http://localhost:{}", lab.port());
    assert_eq!(owner.run(&["whoami", "--json", "--server", &localhost]).expect(0).json()["server"], address(&lab));
    for elsewhere in ["http://127.0.0.1:1", "http://192.0.2.7:8000", "https://localhost:8000"] {
        owner.run(&["whoami", "--server", elsewhere]).fails(4, "not logged in");
    }
    // The first active staff user, whoever that is by now, and after a change of the password.
    let second = json!({"username": "grace", "password": PASSWORD, "is_staff": true});
    lab.post("/v1/users/create").by(ADMIN).json(second).await.expect(201);
    lab.patch("/v1/users/1").by(ADMIN).json(json!({"password": "another-password-1"})).await.expect(200);
    owner.run(&["whoami"]).expect(0);
    owner.run(&["user", "disable", "admin"]).expect(0);
    assert_eq!(owner.run(&["whoami", "--json"]).expect(0).json()["user"]["username"], "grace");
}

#[tokio::test]
async fn who_names_a_data_directory_means_no_other_server() {
    let lab = Lab::start();
    let token = lab.token(ADMIN).await;
    // Somebody who has logged in elsewhere.
    let person = Person::new().with("LABRUN_TOKEN", token);
    let stopped = person.folder().join("stopped");
    std::fs::create_dir(&stopped).expect("a folder");
    for dir in [stopped.as_path(), Path::new("/nowhere")] {
        let dir = dir.to_str().expect("text");
        person.run(&["job", "list", "--data-dir", dir]).fails(5, &format!("no server runs on {dir}"));
    }
    person.run(&["job", "list", "--data-dir", "/nowhere", "--server", &address(&lab)]).expect(0);
    for none in ["ftp://lab", "127.0.0.1:8000"] {
        person.run(&["job", "list", "--server", none]).fails(2, "is no address of a server");
        Person::new().run(&["job", "list", "--server", none]).fails(2, "is no address of a server");
    }
}

#[test]
fn an_address_that_is_old_or_not_private_is_not_trusted() {
    let lab = Lab::start();
    let owner = Person::owner(&lab);
    let dir = lab.server(|server| server.dir().to_owned());
    let file = dir.join("server.json");
    assert_eq!((mode(&file), mode(dir.join("token.key"))), (0o600, 0o600));
    let open = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("it is mine");
    for path in [&file, &dir.join("token.key")] {
        open(path, 0o644);
        owner.run(&["whoami"]).fails(1, "is not private to this user");
        open(path, 0o600);
    }
    owner.run(&["whoami"]).expect(0);
    // After a crash the file is still there, and nobody answers for it.
    lab.server(Server::kill);
    assert!(file.exists());
    owner.run(&["whoami"]).fails(5, "no server runs on");
    lab.server(Server::restart);
    owner.run(&["whoami"]).expect(0);
    lab.server(Server::stop);
    assert!(!file.exists());
}

#[tokio::test]
async fn a_login_is_kept_for_its_owner_alone_and_can_be_given_up() {
    let lab = Lab::start();
    let (user, address) = (lab.username(USER).await, address(&lab));
    let person = Person::new();
    // Whether a server of this machine listens where one is looked for, the test can't say.
    let lost = person.run(&["whoami"]);
    assert!(matches!(lost.code, 4 | 5) && lost.err.contains("labrun login"), "{lost:?}");
    let login = ["login", "--server", &address, "--user", &user];
    person.run(&login).fails(2, "LABRUN_PASSWORD");
    let wrong = person.command(&login).env("LABRUN_PASSWORD", "wrong").output().expect("it runs");
    assert_eq!(wrong.status.code(), Some(4), "{wrong:?}");
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(said.contains("no active user") && !said.contains("logs in anew"), "{said}");
    let known = person.command(&login).env("LABRUN_PASSWORD", PASSWORD).output().expect("it runs");
    assert!(known.status.success(), "{known:?}");
    let settings = person.folder().join("settings");
    assert_eq!((mode(&settings), mode(settings.join("logins.json"))), (0o700, 0o600));
    let kept = std::fs::read_to_string(settings.join("logins.json")).expect("a file of text");
    assert!(kept.contains("labrun_") && !kept.contains(PASSWORD), "{kept}");
    assert_eq!(std::fs::read_dir(&settings).expect("a folder").count(), 1, "a draft was left");

    // The address last logged in at is the one that is called.
    assert_eq!(person.run(&["whoami", "--json"]).expect(0).json()["user"]["username"], json!(user));
    let tokens = person.run(&["token", "list", "--json"]).expect(0).json();
    assert_eq!(tokens.as_array().map(Vec::len), Some(1));
    assert!(
        tokens[0]["expiry_time"].is_string() && tokens[0]["name"].as_str().is_some_and(|name| name.contains("login"))
    );
    // A token makes no other: it is said how to do that.
    person.run(&["token", "create", "script"]).fails(4, "say --user with --password-file");
    // Again: the old token is void.
    drop(person.command(&login).env("LABRUN_PASSWORD", PASSWORD).output());
    let tokens = person.run(&["token", "list", "--json"]).expect(0).json();
    assert!(tokens[0]["revoked_time"].is_string() && tokens[1]["revoked_time"].is_null(), "{tokens}");

    // What others may read is not used.
    std::fs::set_permissions(settings.join("logins.json"), PermissionsExt::from_mode(0o640)).expect("it is mine");
    person.run(&["whoami"]).fails(1, "chmod 600");
    std::fs::set_permissions(settings.join("logins.json"), PermissionsExt::from_mode(0o600)).expect("it is mine");

    person.run(&["logout"]).expect(0);
    person.run(&["whoami", "--server", &address]).fails(4, "not logged in");
    person.run(&["logout", "--server", &address]).fails(3, "no login is stored");
    let tokens = lab.get("/v1/auth/tokens").await.expect(200).json();
    assert!(tokens.as_array().is_some_and(|all| all.iter().all(|token| token["revoked_time"].is_string())), "{tokens}");
}

#[tokio::test]
async fn a_logout_without_its_server_is_forced_or_not_done() {
    let lab = Lab::start();
    let person = Person::new().with("LABRUN_SERVER", address(&lab));
    let mut login = person.command(&["login"]);
    assert!(login.env("LABRUN_PASSWORD", PASSWORD).status().expect("it runs").success());
    lab.server(Server::stop);
    person.run(&["whoami"]).fails(5, "is a server running at");
    person.run(&["logout"]).fails(5, "--force");
    person.run(&["logout", "--force"]).expect(0);
    person.run(&["whoami"]).fails(4, "not logged in");
}

#[tokio::test]
async fn tokens_and_passwords_go_before_what_is_stored() {
    let lab = Lab::start();
    let url = address(&lab);
    let script = lab.post("/v1/auth/tokens").json(json!({"name": "script"})).await.expect(201).json();
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), format!("{}\n", script["token"].as_str().expect("a token")))
        .expect("it can be written");
    let name = |who: &crate::harness::Ran| -> Value { who.json()["user"]["username"].clone() };
    let owner = Person::owner(&lab);
    let file = file.path().to_str().expect("a path of ASCII");
    assert_eq!(name(&owner.run(&["whoami", "--json", "--token-file", file]).expect(0)), lab.username(USER).await);
    owner.run(&["whoami", "--token", "labrun_none"]).fails(4, "labrun login");
    // The variables that `labrun token` had from the beginning.
    let old = Person::new().with("LABRUN_URL", &url).with("LABRUN_PASSWORD", PASSWORD);
    let made = old.run(&["token", "create", "microscope 3"]).expect(0);
    assert!(
        made.out.starts_with("labrun_") && made.out.lines().count() == 1 && made.err.contains("this once"),
        "{made:?}"
    );
    let list = old.run(&["token", "list", "--url", &url]).expect(0);
    assert_eq!(list.rows()[1][..3], ["2", "microscope", "3"], "{list:?}");
    old.run(&["token", "revoke", "2"]).expect(0);
    assert!(old.run(&["token", "list"]).expect(0).out.contains("revoked"));
    old.run(&["token", "revoke", "77"]).fails(3, "404");
    assert_eq!(old.run(&["token", "list", "--json", "--all"]).expect(0).json().as_array().map(Vec::len), Some(2));
}

#[test]
fn a_lab_s_own_certificate_is_trusted_when_it_is_named() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    crate::scenarios::tls::certify(temp.path(), "lab");
    let file = |name: &str| temp.path().join(name).to_string_lossy().into_owned();
    let setup = Setup::default().with(&["--tls-cert", &file("cert.pem"), "--tls-key", &file("key.pem")]);
    let lab = Lab::start_with(setup);
    let url = format!("https://127.0.0.1:{}", lab.port());
    let person = Person::new().with("LABRUN_SERVER", &url).with("LABRUN_PASSWORD", PASSWORD);
    person.run(&["whoami"]).fails(5, "certificate");
    person.run(&["whoami", "--ca-file", "/nowhere"]).fails(1, "can't be read");
    person.run(&["whoami", "--ca-file", &file("key.pem")]).fails(1, "certificates");
    person.run(&["login", "--ca-file", &file("cert.pem")]).expect(0);
    // The login knows which certificate it was.
    let later = person.command(&["whoami"]).env_remove("LABRUN_PASSWORD").output().expect("it runs");
    assert!(later.status.success(), "{later:?}");
    person.run(&["logout"]).expect(0);
    let owner = Person::owner(&lab);
    // The data directory names the certificate, and nothing else is taken for the server.
    owner.run(&["whoami"]).expect(0);
    let other = temp.path().join("other");
    std::fs::create_dir(&other).expect("a folder can be made");
    crate::scenarios::tls::certify(&other, "lab");
    let other = other.join("cert.pem").to_string_lossy().into_owned();
    owner.run(&["whoami", "--ca-file", &other]).fails(5, "certificate");
}
