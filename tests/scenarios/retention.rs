//! Jobs that ended long enough ago go by themselves, when the server is told so, and not before.

use std::process::Command;

use crate::harness::{ADMIN, Lab, Server, Setup, binary, until};

/// Lists what would go.
fn dry_run(lab: &Lab, arguments: &[&str]) -> String {
    let dir = lab.server(|server| server.dir().to_owned());
    let output = Command::new(binary()).arg("retention").arg("--data-dir").arg(dir).args(arguments).output();
    let output = output.expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn restart(lab: &Lab, arguments: &[&str]) {
    lab.server(|server| {
        server.set_up(Setup::default().with(arguments));
        Server::restart(server);
    });
}

async fn is_deleted(lab: &Lab, job: i64) -> bool {
    !lab.read(job).await["deletion_time"].is_null()
}

#[tokio::test]
async fn each_age_takes_its_own_phase_and_the_dry_run_says_so_before() {
    let lab = Lab::start();
    let (finished, errored) = (lab.finished().await.job, lab.errored().await.job);
    let (cancelled, started, free) = (lab.cancelled().await.job, lab.started().await.job, lab.job().await);
    assert_eq!(dry_run(&lab, &[]), "0 in all.\n", "nothing goes unless an age is set");
    assert_eq!(dry_run(&lab, &["--retain-finished-days", "1"]), "0 in all.\n", "no job is a day old");
    let said = dry_run(&lab, &["--retain-finished-days", "0", "--retain-cancelled-days", "0"]);
    assert!(
        said.contains(&format!("job {finished}, finished")) && said.contains(&format!("job {cancelled}, cancelled"))
    );
    assert!(said.ends_with("2 in all.\n"), "{said}");
    for job in [finished, errored, cancelled] {
        assert!(!is_deleted(&lab, job).await, "a dry run changes nothing");
    }

    restart(&lab, &["--retain-finished-days", "0", "--retain-errored-days", "1", "--retain-deleted-days", "1"]);
    let end = crate::harness::deadline();
    while !is_deleted(&lab, finished).await {
        assert!(std::time::Instant::now() < end, "the finished job stayed");
    }
    for job in [errored, cancelled, started, free] {
        assert!(!is_deleted(&lab, job).await, "job {job} went");
    }
}

#[tokio::test]
async fn what_was_soft_deleted_goes_for_good_with_its_bytes() {
    let lab = Lab::start();
    let held = lab.started().await;
    let lone = lab.upload(held, "lone", "str", "an output that was deleted").await.expect(200).json();
    lab.upload(held, "kept", "str", "an output that stays").await.expect(200);
    lab.delete(&format!("/v1/job-outputs/{}", lone["pk"])).by(ADMIN).await.expect(204);
    let gone = lab.finished().await.job;
    lab.staff(gone, "").await.expect(204);
    restart(&lab, &["--retain-deleted-days", "0"]);
    let digest = lone["sha256"].as_str().expect("a digest").to_owned();
    let file = lab.server(|server| server.dir().join("blobs").join(&digest[..2]).join(&digest[2..]));
    until("the bytes of the deleted output to go", || (!file.exists()).then_some(()));
    let end = crate::harness::deadline();
    while lab.get(&format!("/v1/jobs/{gone}")).await.status != 404 {
        assert!(std::time::Instant::now() < end, "the deleted job stayed");
    }
    lab.get(&format!("/v1/job-outputs/{}", lone["pk"])).await.expect(404);
    let kept = lab.get(&format!("/v1/jobs/{}/outputs/kept/str", held.job)).await.expect(200);
    assert_eq!(kept.text(), "an output that stays");
}
