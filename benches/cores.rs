//! Which cores run what, for a figure that would else hang on what the scheduler chooses.

use anyhow::Context;
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Gives the cores that the harness may use, each by itself.
pub(crate) fn each() -> anyhow::Result<Vec<CpuSet>> {
    let all = sched_getaffinity(None)?;
    let one = |core| {
        let mut set = CpuSet::new();
        set.set(core);
        set
    };
    Ok((0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).map(one).collect())
}

/// Keeps the harness to some cores.
pub(crate) fn keep_harness(cores: &CpuSet) -> anyhow::Result<()> {
    Ok(sched_setaffinity(None, cores)?)
}

/// Keeps a process to some cores, with all of its threads; those that it makes later stay there too.
pub(crate) fn keep_process(id: u32, cores: &CpuSet) -> anyhow::Result<()> {
    for thread in std::fs::read_dir(format!("/proc/{id}/task"))? {
        let thread = thread?.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        match sched_setaffinity(Some(thread.context("the system names no thread")?), cores) {
            // It has ended meanwhile.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
