//! What `kvfs status` shows of an environment.

use super::engine::Engine;
use super::moment::Moment;

impl Engine {
    /// What `kvfs status` shows of the environment at `moment`.
    pub(super) fn facts(&self, moment: &Moment) -> Vec<(&'static str, String)> {
        let environment = self.environment();
        let mut facts = vec![("path", environment.place.shown.display().to_string())];
        if let Moment::Fixed(snapshot) = moment {
            facts.push(("snapshot of transaction", snapshot.id.to_string()));
            if let Ok(bytes) = self.kept_since(snapshot.id) {
                facts.push(("kept for the snapshot", format!("{bytes} bytes that writers cannot use again")));
            }
        }
        facts.extend(environment.intact().err().map(|error| ("damage", error.to_string())));
        if let Ok(id) = environment.last_transaction() {
            facts.push(("transaction", id.to_string()));
        }
        if let Ok(info) = environment.info() {
            let pages = info.me_last_pgno as u64 + 1;
            facts.push(("pages", format!("{pages} of {} bytes", environment.page_size)));
            facts.push(("map", format!("{} bytes reserved", info.me_mapsize)));
            facts.push((
                "reader slots",
                format!("{} of {} used so far", info.me_numreaders, info.me_maxreaders),
            ));
        }
        facts.push(("moments held by open files", self.pins().count().to_string()));
        facts.push(("access", environment.access.to_string()));
        facts.push(("changes by others noticed", environment.changes().foreign().to_string()));
        let (commits, jobs) = self.writer().counts();
        facts.push(("transactions written", format!("{commits} for {jobs} requests")));
        facts.extend(self.broken_orders().into_iter().map(|name| ("order of its program's own", name)));
        facts.extend(self.commit_facts());
        facts
    }
}
