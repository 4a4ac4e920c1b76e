//! A whole job on real data, in seconds: starts a server in a temporary directory, makes a job on a chromatogram,
//! does the worker's part, fetches the results and checks them.
//!
//!     cargo run --release --example quickstart

#[path = "support/peaks.rs"]
mod peaks;
#[path = "support/plot.rs"]
mod plot;
#[path = "support/worker.rs"]
mod worker;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use labrun::client::Client;
use labrun::server::{Running, Settings};
use labrun::wire::job::{NewJob, ParameterValue, Phase, TypedValue};
use labrun::wire::user::NewUser;
use labrun::wire::{Job, Output};
use worker::{Results, Worker};

/// How many peaks were put into the chromatogram when it was made.
const PEAKS_IN_FILE: usize = 10;

#[tokio::main]
async fn main() -> Result<()> {
    let begun = Instant::now();
    let directory = tempfile::tempdir()?;
    let data_dir = directory.path().join("data");
    let server = Running::start(Settings::new(&data_dir)).await?;
    say("Server", &format!("http://{}, data in {}", server.address(), data_dir.display()));
    let password = server.made_password().context("a new data directory has no admin yet")?;
    let outcome = whole_job(&format!("http://{}", server.address()), password).await;
    server.stop().await;
    directory.close()?;
    outcome?;
    println!("\nDone in {:.1} s; the server has stopped and its directory is gone.", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Everything between the server's start and its end.
async fn whole_job(address: &str, password: &str) -> Result<()> {
    let admin = Client::login(address, "admin", password).await?;

    let text = std::fs::read_to_string(example_data("peak_finder.json"))?;
    let template = admin.import_template(&serde_json::from_str(&text)?).await?;
    say("Template", &format!("{} v{} imported", template.name, template.version));

    let chromatogram = example_data("chromatogram.csv");
    let path = chromatogram.to_str().context("the path of this project is not UTF-8")?;
    let new = NewJob {
        input_values: [("chromatogram".to_owned(), TypedValue::new(path, "str"))].into(),
        parameter_values: [("prominence_mau".to_owned(), ParameterValue::Text("1.5".to_owned()))].into(),
        description: Some("quickstart".to_owned()),
        ..NewJob::default()
    };
    let job = admin.create_job(template.pk, &new).await?;
    say("Job", &format!("{} created, on examples/data/chromatogram.csv", job.pk));

    // The worker is a user of its own; it needs no right but to log in.
    let user = NewUser { username: "worker".to_owned(), password: random_password()?, ..NewUser::default() };
    admin.create_user(&user).await?;
    let worker = Worker::new(Client::login(address, &user.username, &user.password).await?).await?;
    let taken = worker.take().await?.context("no job is free")?;
    say("Worker", &format!("node {} acquired job {} and started it", worker.node(), taken.pk));
    let results = worker.run(&taken).await?;

    let job = admin.job(job.pk).await?;
    ensure!(job.phase == Phase::Finished, "the job ended {}", job.phase);
    say("Finished", &format!("in {}", run_time(&job)?));
    fetch(&admin, &job, &results).await
}

/// Fetches both outputs into `target/quickstart`, with their SHA-256 checked by the client, and shows the table.
async fn fetch(client: &Client, job: &Job, results: &Results) -> Result<()> {
    let folder = output_folder()?;
    std::fs::create_dir_all(&folder)?;
    let table = folder.join("peaks.csv");
    for (output, file) in [(&results.table, &table), (&results.plot, &folder.join("chromatogram.svg"))] {
        let Output { name, type_name, sha256, .. } = output;
        let length = client.download_file(job.pk, name, type_name, file, |_, _| ()).await?;
        say("Fetched", &format!("{} ({length} bytes, SHA-256 {}… checked)", file.display(), &sha256[..12]));
    }
    let table = std::fs::read_to_string(table)?;
    show(&table);
    let found = table.lines().count() - 1;
    ensure!(found == PEAKS_IN_FILE, "found {found} peaks, but examples/data/README.md lists {PEAKS_IN_FILE}");
    Ok(())
}

/// Prints the first columns of the table of peaks.
fn show(table: &str) {
    println!("\n{:>8}{:>16}{:>14}{:>18}{:>12}", "peak", "time / min", "height / mAU", "area / mAU min", "area / %");
    for row in table.lines().skip(1) {
        if let [peak, time, height, _, area, percent, ..] = row.split(',').collect::<Vec<_>>()[..] {
            println!("{peak:>8}{time:>16}{height:>14}{area:>18}{percent:>12}");
        }
    }
}

fn say(what: &str, how: &str) {
    println!("{what:<10}{how}");
}

fn run_time(job: &Job) -> Result<String> {
    let (start, end) = job.start_time.zip(job.end_time).context("a finished job has both times")?;
    Ok(format!("{:.0} ms", (end.0 - start.0) as f64 / 1e3))
}

fn example_data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(name)
}

/// This program lies in `target/release/examples` or a folder like it.
fn output_folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(3).context("this program lies too near to the root")?;
    Ok(target.join("quickstart"))
}

fn random_password() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
