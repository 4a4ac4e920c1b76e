//! What the README shows is what happens.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use super::{output, wait_for};
use crate::harness::{Hands, Lab, Worker, binary, until};

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    std::fs::read_to_string(path).expect("there is a README")
}

/// Gives the first block of code of a language.
fn block(text: &str, language: &str) -> String {
    let (_, rest) = text.split_once(&format!("```{language}\n")).expect("there is such a block");
    rest.split_once("```").expect("it ends").0.to_owned()
}

/// A shell in which `labrun` is the binary under test, in a folder with the examples, and with a data directory, a port
/// and a worker's folder of its own; all else is as for anybody who types.
struct Terminal {
    temp: tempfile::TempDir,
}

impl Terminal {
    fn new() -> Self {
        let temp = tempfile::TempDir::with_prefix("labrun-readme-").expect("a temporary directory");
        let link = |from: &Path, to: &str| std::os::unix::fs::symlink(from, temp.path().join(to)).expect("a link");
        std::fs::create_dir(temp.path().join("bin")).expect("a folder");
        link(&binary(), "bin/labrun");
        link(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"), "examples");
        Self { temp }
    }

    fn command(&self, line: &str) -> Command {
        let path = format!("{}:{}", self.temp.path().join("bin").display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("sh");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LABRUN_")) {
            command.env_remove(name);
        }
        // `exec`, so that a signal reaches the program and not the shell.
        command.args(["-c", &format!("exec {line}")]).current_dir(self.temp.path()).env("PATH", path);
        command.env("LABRUN_DATA_DIR", self.temp.path().join("data")).env("LABRUN_LISTEN", "127.0.0.1:0");
        command.env("LABRUN_WORK_DIR", self.temp.path().join("work"));
        command.env("LABRUN_CONFIG_DIR", self.temp.path().join("config")).stdin(Stdio::null());
        command
    }

    /// Runs a line in a terminal of its own; what it prints goes to a file.
    fn begin(&self, line: &str, file: &str) -> Background {
        let out = std::fs::File::create(self.temp.path().join(file)).expect("a file");
        Background(self.command(line).stdout(out).stderr(Stdio::null()).spawn().expect("sh runs"))
    }

    fn run(&self, line: &str) -> Output {
        let output = self.command(line).output().expect("sh runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {said}");
        output
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.temp.path().join(file)).unwrap_or_default()
    }
}

struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_five_lines_of_the_first_screen_do_a_whole_job() {
    let block = block(&readme(), "sh");
    let lines: Vec<_> = block.lines().collect();
    let [serve, work, submit, watch, fetch] = lines[..] else { panic!("five lines: {lines:?}") };
    let terminal = Terminal::new();
    let _server = terminal.begin(serve, "serve.out");
    // The two may be started at the same time.
    let _worker = terminal.begin(work, "work.out");
    until("the server to say where it listens", || terminal.read("serve.out").contains("listens on").then_some(()));
    terminal.run(submit);
    let watched = terminal.run(watch);
    assert!(String::from_utf8_lossy(&watched.stdout).contains("finished"), "{watched:?}");
    terminal.run(fetch);
    let peaks = terminal.read("peaks.csv");
    let times: Vec<f64> =
        peaks.lines().skip(1).map(|row| row.split(',').nth(1).expect("a time").parse().expect("a number")).collect();
    // Those of examples/data/README.md; a peak is highest later than the centre that the table there gives.
    let centres = [1.12, 2.34, 3.81, 4.13, 5.96, 7.42, 8.27, 8.71, 10.58, 12.45];
    assert_eq!(times.len(), centres.len(), "{peaks}");
    assert!(times.iter().zip(centres).all(|(time, centre)| (0.0..0.11).contains(&(time - centre))), "{peaks}");
    assert!(terminal.read("log.txt").contains("found 10 peaks"));
}

#[tokio::test]
async fn the_template_that_the_readme_shows_works() {
    let document: Value = serde_json::from_str(&block(&readme(), "json")).expect("JSON");
    let lab = Lab::start();
    let _worker = Worker::start(&lab, Hands::default()).await;
    let template = lab.import(document).await.expect(200).pk();
    let table = "a,0.2\nb,0.7\nc,0.9\n";
    let hex = super::sha256(table);
    lab.request("PUT", &format!("/v1/blobs/{hex}")).bytes(table).await.expect(201);
    let input = json!({"table": {"value": format!("sha256:{hex}"), "type": "BLOB<'csv'>"}});
    let job = super::submit(&lab, template, json!({"least": "0.6"}), json!({"input_values": input})).await;
    wait_for(&lab, job, "finished").await;
    assert_eq!(output(&lab, job, "count", "int").await, "2\n");
}

#[test]
fn the_demo_does_three_jobs_and_leaves_nothing_behind() {
    let terminal = Terminal::new();
    let temp = terminal.temp.path().join("tmp");
    std::fs::create_dir(&temp).expect("a folder");
    let output = terminal.command("labrun demo").env("TMPDIR", &temp).output().expect("sh runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for part in
        ["$ labrun serve", "$ labrun work", "10 peaks stand out by 1 mAU", "3 peaks stand out by 50 mAU", "Done in"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(std::fs::read_dir(&temp).expect("it is there").count(), 0);
    assert!(!terminal.temp.path().join("data").exists() && !terminal.temp.path().join("work").exists());
}
