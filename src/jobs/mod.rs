//! The queue and its workers: accept, claim, run, rescue, wait. A job is one vendor call and one image.
//!
//! `jobs` asks `providers` for a plan, `limits` for what to reserve, hands what came back to `images`, and gives all
//! rows to one function of `store`. Every write to a claimed job is fenced by the epoch of its lease.

mod accept;
mod attempt;
mod audit;
mod catalog;
mod decide;
mod deletion;
mod draft;
mod held;
mod live;
mod pauses;
mod queue;
mod quota;
mod references;
mod rules;
mod settings;
mod spending;
mod view;
mod wait;
mod waiting;
mod worker;

pub use audit::{Audit, AuditError, Audited, Finding, Kind, Outcome, audit};
pub use catalog::Offered;
pub use deletion::{Deletion, Object, delete_image};
pub use draft::Desk;
pub use live::Live;
pub use quota::{Left, Limit};
pub use references::{PutError, image_id};
pub use rules::Rules;
pub use settings::{Role, Settings};
pub use view::{
    Accepted, Cancelled, Code, Estimate, Explanation, Generation, JobView, ModelView, Moment, Owner, Page,
    ProviderView, Refused, TargetView,
};

use crate::{
    images::{Images, Kept},
    outbound::Clients,
    spool::Spool,
    store::{By, Filter, Image, JobRows, Listing, Store, StoreError, Used, Window},
    telemetry::SharedClock,
};
use arc_swap::ArcSwap;
use held::Held;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::Instant,
};
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use waiting::Waiters;

/// A call on jobs failed: refused with a sentence, or the database is away.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What jobs are made of.
pub struct Parts {
    pub live: Live,
    pub store: Store,
    pub images: Arc<Images>,
    pub spool: Arc<Spool>,
    pub clients: Clients,
    /// Largest image that a reference URL may name.
    pub max_image: u64,
    /// Where readable copies of finished images go.
    pub save_dir: Option<PathBuf>,
    pub clock: SharedClock,
}

/// The queue and its workers.
pub struct Jobs(Arc<Inner>);

struct Inner {
    /// `jobs.lease` and `jobs.role`: fixed while the process runs.
    lease: Duration,
    role: Role,
    live: ArcSwap<Live>,
    store: Store,
    images: Arc<Images>,
    spool: Arc<Spool>,
    clients: Clients,
    reference_room: references::Room,
    max_image: u64,
    save_dir: Option<PathBuf>,
    clock: SharedClock,
    /// This process, in the leases of its jobs.
    owner: String,
    slots: Arc<Semaphore>,
    /// Jobs this process runs.
    mine: Mutex<HashMap<Uuid, Arc<Held>>>,
    /// Those of them for which a cancellation was asked.
    cancelled: Mutex<HashSet<Uuid>>,
    waiters: Waiters,
    /// There may be work to claim.
    wake: Notify,
    stopping: AtomicBool,
    /// Everything that ran has ended: whoever still waits hears what there is.
    stopped: AtomicBool,
    tasks: TaskTracker,
    loops: Loops,
}

/// Background loops, ended together.
#[derive(Default)]
struct Loops(Mutex<Option<tokio::task::JoinSet<()>>>);

impl Loops {
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.0.lock();
        let set = set.get_or_insert_default();
        while set.try_join_next().is_some() {}
        set.spawn(work);
    }
    fn close(&self) {
        // Dropping the set ends its tasks.
        drop(self.0.lock().take());
    }
}

impl Jobs {
    /// Starts the workers and the loops of this process's role.
    pub fn start(parts: Parts) -> Arc<Jobs> {
        let inner = Arc::new(Inner {
            reference_room: references::Room::new(parts.live.settings.reference_memory),
            slots: Arc::new(Semaphore::new(parts.live.settings.workers.max(1) as usize)),
            lease: *parts.live.settings.lease,
            role: parts.live.settings.role,
            live: ArcSwap::from_pointee(parts.live),
            store: parts.store,
            images: parts.images,
            spool: parts.spool,
            clients: parts.clients,
            max_image: parts.max_image,
            save_dir: parts.save_dir,
            stopped: AtomicBool::new(false),
            clock: parts.clock,
            owner: Uuid::new_v4().to_string(),
            mine: Mutex::default(),
            cancelled: Mutex::default(),
            waiters: Waiters::default(),
            wake: Notify::new(),
            stopping: AtomicBool::new(false),
            tasks: TaskTracker::new(),
            loops: Loops::default(),
        });
        inner.spawn_loops();
        Arc::new(Jobs(inner))
    }

    /// Takes no more work, lets running attempts finish within `grace`, and lets go of what can be resumed.
    pub async fn stop(&self, grace: Duration) {
        self.0.stop(grace).await;
    }

    /// What new calls and attempts go by.
    pub fn live(&self) -> Arc<Live> {
        self.0.live.load_full()
    }

    /// Takes a new configuration. `jobs.workers`, `jobs.lease` and `jobs.role` in it must be the old ones.
    pub fn reload(&self, live: Live) {
        self.0.live.store(Arc::new(live));
        // A provider may have come, have more room, or be paused.
        self.0.wake.notify_one();
        self.0.step_aside_soon();
    }

    /// Commits `count` jobs of one batch, or none. The ids are on disk when this returns.
    ///
    /// # Errors
    /// [`Refused`] with a sentence for the caller; or the database is away.
    ///
    /// # Cancellation
    /// Dropped before it returns, the jobs may or may not be there; an idempotency key tells.
    pub async fn generate(&self, owner: &Owner, generation: Generation) -> Result<Accepted, JobsError> {
        let (inner, owner) = (self.0.clone(), owner.clone());
        // In a task of its own: a client that leaves between the commit and the start must not leave a claimed job
        // that nobody runs.
        let accepting = tokio::spawn(async move { inner.generate(&owner, generation).await });
        accepting.await.unwrap_or_else(|gone| Err(StoreError(format!("the submit broke off: {gone}")).into()))
    }

    /// One job of the team; somebody else's is `None`, as one that does not exist.
    pub async fn job(&self, team: &str, id: Uuid) -> Result<Option<JobView>, StoreError> {
        Ok(self.0.views(team, &[id]).await?.pop())
    }

    /// Waits until all these jobs have ended or `until` has come; looks first. Jobs that the team does not have
    /// are left out of the answer, which is in the order of `ids`. `moments` (never blocked on) hears of
    /// changes on the way.
    pub async fn wait(
        &self,
        team: &str,
        ids: &[Uuid],
        until: Instant,
        moments: Option<watch::Sender<Option<Moment>>>,
    ) -> Result<Vec<JobView>, StoreError> {
        self.0.wait(team, ids, until, moments).await
    }

    /// Cancels a job that is not out at a vendor. `None`: the team has no such job.
    pub async fn cancel(&self, team: &str, id: Uuid) -> Result<Option<Cancelled>, StoreError> {
        self.0.cancel(team, id).await
    }

    /// Jobs, newest first.
    pub async fn list(&self, filter: &Filter, window: Window) -> Result<Page<JobView>, StoreError> {
        let listing = self.0.store.list_jobs(filter, window).await?;
        Ok(page(listing, |rows| self.0.plain_view(rows)))
    }

    /// Finished images with their jobs, newest first.
    pub async fn generations(
        &self,
        filter: &Filter,
        window: Window,
    ) -> Result<Page<(Image, JobView)>, StoreError> {
        let listing = self.0.store.list_images(filter, window).await?;
        Ok(page(listing, |(image, rows)| (image, self.0.plain_view(rows))))
    }

    /// An image of the team, with its job; also one that was deleted.
    pub async fn image(&self, team: &str, id: Uuid) -> Result<Option<(Image, JobView)>, StoreError> {
        let Some(image) = self.0.store.image(team, id).await? else { return Ok(None) };
        let job = self.job(team, image.job_id).await?;
        Ok(job.map(|job| (image, job)))
    }

    /// Deletes an image of the team: nobody is given it from now on, and its storage is freed. `None`: the team has
    /// no such image.
    ///
    /// # Errors
    /// The database is away; nothing is deleted.
    pub async fn delete_image(&self, team: &str, id: Uuid) -> Result<Option<Deletion>, StoreError> {
        let inner = self.0.clone();
        let team = team.to_owned();
        // In a task of its own: a client that leaves must not leave the object to the sweep.
        let deleting = tokio::spawn(async move { inner.delete_image(&team, id).await });
        deleting.await.unwrap_or_else(|gone| Err(StoreError(format!("the deletion broke off: {gone}"))))
    }

    /// What a generation would cost and whether it would be accepted; buys nothing.
    pub async fn estimate(&self, owner: &Owner, generation: Generation) -> Result<Estimate, StoreError> {
        self.0.estimate(owner, &generation).await
    }

    /// Where the least that a model can be asked for would go now, and why; buys nothing.
    pub async fn explain_model(&self, owner: &Owner, model: &str) -> Result<Explanation, StoreError> {
        self.0.explain_model(owner, model).await
    }

    /// Every limit of this owner's team and key, and what is left of it.
    pub async fn quota(&self, owner: &Owner) -> Result<Vec<Limit>, StoreError> {
        self.0.quota(owner).await
    }

    /// What was used, as far as jobs are remembered; of the filter, team and time count.
    pub async fn usage(&self, filter: &Filter, by: By) -> Result<Vec<Used>, StoreError> {
        self.0.store.usage(filter, by).await
    }

    /// The models this owner may use.
    pub fn models(&self, owner: &Owner) -> Vec<ModelView> {
        self.0.models(owner)
    }

    /// Whether a team is offered a tool, of those that the face has.
    pub fn offers(&self, team: &str, tool: &str) -> bool {
        self.0.live.load().rules.offers(team, tool)
    }

    /// Whether an upload's link is one of ours and still good.
    pub fn has_slot(&self, token: &str) -> bool {
        self.0.images.open_slot(token).is_some()
    }

    /// Takes the bytes of an upload slot, once: its id, and what was stored.
    ///
    /// # Errors
    /// The link is no good any more, the bytes are no image, or they cannot be stored.
    pub async fn put_upload(&self, token: &str, bytes: bytes::Bytes) -> Result<(Uuid, Kept), PutError> {
        self.0.put_upload(token, bytes).await
    }

    /// The providers behind the models this owner may use, the default first.
    pub fn providers(&self, owner: &Owner) -> Vec<ProviderView> {
        self.0.providers(owner)
    }

    /// Where [`Jobs::models`] takes its answer from: as long as that is the same, so is the answer.
    pub fn offered(&self, owner: &Owner) -> Offered {
        self.0.offered(owner)
    }

    /// Jobs waiting and jobs running, over all teams and nodes.
    pub async fn load(&self) -> Result<(u64, u64), StoreError> {
        self.0.store.load().await
    }
}

fn page<A, B>(listing: Listing<A>, view: impl FnMut(A) -> B) -> Page<B> {
    Page {
        rows: listing.rows.into_iter().map(view).collect(),
        total: listing.total,
        total_is_minimum: listing.total_is_minimum,
        next: listing.next,
    }
}

impl Inner {
    fn plain_view(&self, rows: JobRows) -> JobView {
        let progress = self.mine.lock().get(&rows.job.id).and_then(|held| held.percent());
        JobView {
            job: rows.job,
            images: rows.images,
            deleted: rows.deleted,
            attempts: rows.attempts,
            queue_position: None,
            progress,
        }
    }
}
