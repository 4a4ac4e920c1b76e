//! What reaches the terminal: no wider than it is, in colour when that is wanted, and nothing that steers it.

use serde_json::json;

use crate::harness::{Lab, Person};

/// A text that would colour, clear, ring, and turn a line around.
const EVIL: &str = "x\u{1b}[31m\u{1b}]0;t\u{7}\u{9b}2J\r\u{202e}\"q\" 'r' $(s) \\t";

async fn evil_lab() -> Lab {
    let lab = Lab::start();
    let path = format!("/v1/job-templates/{}/create-job", lab.template().await);
    let job = lab
        .post(&path)
        .json(json!({"input_values": {}, "description": EVIL, "labels": {"l": "7"}}))
        .await
        .expect(200)
        .pk();
    let node = json!({"ip": "n\u{1b}[2J", "index": 0, "cpu_mem": 1});
    let node = lab.post("/v1/nodes/create").json(node).await.expect(201).pk();
    let held = crate::harness::Held { job, node };
    lab.act(held, "acquire").await.expect(200);
    lab.act(held, "start").await.expect(200);
    lab.act(held, "finish").json(json!({"error": EVIL})).await.expect(200);
    lab
}

#[tokio::test]
async fn nothing_from_the_server_steers_the_terminal() {
    let lab = evil_lab().await;
    let owner = Person::owner(&lab);
    for command in [
        &["job", "list"][..],
        &["job", "show", "1"],
        &["job", "watch", "1"],
        &["node", "list"],
        &["node", "show", "1"],
        &["job", "cancel", "1", "--dry-run"],
        &["job", "submit", EVIL],
        &["template", "show", EVIL],
        &["user", "disable", EVIL],
        &["job", "fetch", "1", EVIL],
        &["job", "submit", "1", "-i", &format!("{EVIL}=1")],
        &["job", "list", "--json"],
    ] {
        let ran = owner.run(command);
        let shown = format!("{}{}", ran.out, ran.err);
        let steers = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        // JSON is for programs, and escapes what ASCII has of these by itself.
        let is_json = command.contains(&"--json");
        assert!(!shown.contains('\u{1b}') && (is_json || !shown.contains(steers)), "{command:?}: {shown:?}");
    }
    let list = owner.run(&["job", "list"]).out;
    assert!(list.contains(r#"x\u{1b}[31m\u{1b}]0;t\u{7}\u{9b}2J\r\u{202e}"q" 'r' $(s) \t"#), "{list}");
}

#[tokio::test]
async fn tables_fit_the_terminal() {
    let lab = evil_lab().await;
    let owner = Person::owner(&lab);
    for width in [20_usize, 40, 60, 80, 100] {
        let mut command = owner.command(&["job", "list"]);
        let output = command.env("COLUMNS", width.to_string()).output().expect("it runs");
        let out = String::from_utf8(output.stdout).expect("text");
        assert_eq!(out.lines().count(), 2, "{out}");
        assert!(width < 40 || out.lines().all(|line| line.chars().count() <= width), "{width}: {out}");
        assert!(out.starts_with("PK  PHASE"), "{out}");
    }
    let narrow = owner.command(&["job", "list"]).env("COLUMNS", "60").output().expect("it runs");
    assert!(String::from_utf8_lossy(&narrow.stdout).contains('…'));
}

#[tokio::test]
async fn colours_are_for_terminals_unless_they_are_not_wanted() {
    let lab = evil_lab().await;
    let owner = Person::owner(&lab);
    let has_colour = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = owner.command(&[&["job", "list"], arguments].concat());
        let output = command.envs(variables.iter().copied()).output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        output.stdout.contains(&0x1b)
    };
    // Stdout is no terminal here.
    assert!(!has_colour(&[], &[]));
    assert!(has_colour(&["--color", "always"], &[]));
    assert!(has_colour(&["--color=always"], &[("NO_COLOR", "1")]));
    assert!(!has_colour(&["--color", "never"], &[]));
    owner.run(&["job", "list", "--color", "sometimes"]).fails(2, "possible values: auto, always, never");

    // On a terminal, which `script` plays.
    let on_terminal = |variables: &[(&str, &str)]| {
        let line = format!("{} job list", crate::harness::binary().display());
        let mut command = std::process::Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").env_remove("NO_COLOR");
        command.env("LABRUN_DATA_DIR", lab.server(|server| server.dir().to_owned()));
        command.env("LABRUN_CONFIG_DIR", owner.folder()).envs(variables.iter().copied());
        command.stdin(std::process::Stdio::null()).output()
    };
    let Ok(plain) = on_terminal(&[]) else { return eprintln!("skipped: there is no `script` to play a terminal") };
    assert!(plain.stdout.contains(&0x1b), "{plain:?}");
    for variable in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let quiet = on_terminal(&[variable]).expect("it runs");
        assert!(!quiet.stdout.contains(&0x1b) && quiet.stdout.len() > 40, "{quiet:?}");
    }
}

#[tokio::test]
async fn a_reader_who_has_enough_is_no_failure() {
    let lab = Lab::start();
    for _ in 0..40 {
        lab.job().await;
    }
    let owner = Person::owner(&lab);
    let mut child = owner.command(&["job", "list", "--json"]);
    let mut child =
        child.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[tokio::test]
async fn what_is_said_beside_the_output_may_get_lost() {
    let lab = Lab::start();
    let owner = Person::owner(&lab);
    let template = lab.template().await.to_string();
    lab.job().await;
    let dir = lab.server(|server| server.dir().to_owned());
    // Every byte that is written there fails.
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("a device");
    let code = |arguments: &[&str]| {
        let ran = owner.command(arguments).stderr(full()).output().expect("the binary can be started");
        ran.status.code()
    };
    assert_eq!(code(&["job", "submit", &template]), Some(0));
    assert_eq!(code(&["job", "list", "--limit", "1"]), Some(0));
    assert_eq!(code(&["job", "cancel", "1-2"]), Some(0));
    assert_eq!(code(&["job", "show", "77"]), Some(3));
    lab.server(crate::harness::Server::stop);
    assert_eq!(code(&["verify", "--data-dir", &dir.to_string_lossy()]), Some(0));
}
