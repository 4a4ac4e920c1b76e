//! Retention: jobs that ended long ago are soft-deleted, and what was soft-deleted long ago goes for good.

use std::sync::Arc;

use super::reclaim;
use crate::server::App;
use crate::store::{Error, retention::Ages};

/// What one step lets go of each kind; the rest goes with the next, so that other writes need not wait.
const STEP_MAX: u32 = 500;

/// Lets go what is old enough by now, and gives how many rows that were. Nothing is done when no age is set.
pub(super) async fn retain_once(app: &Arc<App>, ages: Ages) -> Result<usize, Error> {
    let mut gone = 0;
    loop {
        if ages == Ages::default() || *app.stopping.borrow() {
            return Ok(gone);
        }
        let due = app.store.retention_due(ages, app.clock.now(), STEP_MAX).await?;
        let count = due.ended.len() + due.deleted_jobs.len() + due.deleted_outputs.len();
        if count == 0 {
            return Ok(gone);
        }
        app.store.retire_jobs(due.ended.into_iter().map(|(job, _, _)| job).collect()).await?;
        for (output, _) in due.deleted_outputs {
            match app.store.purge_output(output).await {
                Ok(was) => reclaim(app, vec![was.sha256]),
                // Somebody was faster.
                Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        for (job, _) in due.deleted_jobs {
            match app.store.purge_job(job).await {
                Ok(purged) => {
                    app.hub.end(&purged.jobs);
                    reclaim(app, purged.digests);
                }
                Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        gone += count;
    }
}
