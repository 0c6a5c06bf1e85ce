//! A stand-in for jobs and images: jobs end when the test says so.

use crate::{
    images::{ImageError, Link, SlotLink},
    jobs::{
        Accepted, Cancelled, Code, Deletion, Estimate, Explanation, Generation, JobView, JobsError, Limit,
        ModelView, Moment, Object, Offered, Owner, Page, ProviderView, Refused, TargetView,
    },
    mcp::{Backend, Outcome, Reloaded},
    providers::{Choice, Explained, Strategy},
    store::{Attempt, By, Filter, Image, Job, Place, State, StoreError, Used, Window},
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use plugin_api::{Adjustment, Mime, value::Money};
use serde_json::json;
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until},
};
use uuid::Uuid;

pub const NOW_US: i64 = 1_800_000_000_000_000;
/// Size of every stored image.
pub const IMAGE_BYTES: i64 = 300_000;

pub struct Fake {
    pub views: Mutex<Vec<JobView>>,
    pub cancelled: Mutex<Vec<Uuid>>,
    pub generations: Mutex<Vec<Generation>>,
    /// Every call fails: the database is away.
    pub away: Mutex<bool>,
    pub refuse: Mutex<Option<Refused>>,
    /// What an accepted call is told about its quotas.
    pub notices: Mutex<Vec<Adjustment>>,
    /// How long a submit takes.
    pub submit: Mutex<Duration>,
    /// The submit meets jobs that are there already.
    pub repeated: Mutex<bool>,
    /// A wait that has begun.
    pub waiting: Notify,
    pub submitting: Notify,
    pub previews: Mutex<bool>,
    pub until: Mutex<Option<Instant>>,
    pub moments: Mutex<Option<watch::Sender<Option<Moment>>>>,
    /// What a reload comes to.
    pub reload: Mutex<Outcome>,
    pub offered: Mutex<Option<Offered>>,
    /// Globs of the tools that every team is offered.
    pub tools: Mutex<Vec<String>>,
    pub models_asked: AtomicU32,
    /// What lists were asked for.
    pub listed: Mutex<Vec<(Filter, Window)>>,
    pub limits: Mutex<Vec<Limit>>,
    pub used: Mutex<Vec<Used>>,
    /// What usage was asked for.
    pub counted: Mutex<Vec<(Filter, By)>>,
    changed: watch::Sender<u64>,
}

impl Default for Fake {
    fn default() -> Self {
        Fake {
            views: Mutex::default(),
            cancelled: Mutex::default(),
            generations: Mutex::default(),
            away: Mutex::new(false),
            refuse: Mutex::default(),
            notices: Mutex::default(),
            submit: Mutex::new(Duration::ZERO),
            repeated: Mutex::new(false),
            waiting: Notify::new(),
            submitting: Notify::new(),
            previews: Mutex::new(true),
            until: Mutex::new(None),
            moments: Mutex::new(None),
            reload: Mutex::new(Ok(Reloaded::default())),
            offered: Mutex::new(None),
            tools: Mutex::new(vec!["*".into()]),
            models_asked: AtomicU32::new(0),
            listed: Mutex::default(),
            limits: Mutex::default(),
            used: Mutex::default(),
            counted: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Fake {
    /// A job in a state, as if made before.
    pub fn job(&self, state: State) -> Uuid {
        let view = view("a cat", state);
        let id = view.job.id;
        self.views.lock().push(view);
        id
    }

    pub fn end(&self, id: Uuid, state: State) {
        let mut views = self.views.lock();
        let view = views.iter_mut().find(|view| view.job.id == id).unwrap();
        let ended = self::view("", state);
        view.job.state = state;
        view.job.error = ended.job.error;
        view.job.error_code = ended.job.error_code;
        view.job.cost = ended.job.cost;
        view.images = ended.images.into_iter().map(|image| Image { job_id: id, ..image }).collect();
        drop(views);
        self.changed.send_modify(|n| *n += 1);
    }

    pub fn made(&self) -> Vec<Uuid> {
        self.views.lock().iter().map(|view| view.job.id).collect()
    }

    fn here(&self) -> Result<(), StoreError> {
        if *self.away.lock() { Err(StoreError("disk full".into())) } else { Ok(()) }
    }

    fn find(&self, ids: &[Uuid]) -> Vec<JobView> {
        let views = self.views.lock();
        ids.iter().filter_map(|id| views.iter().find(|view| view.job.id == *id)).cloned().collect()
    }
}

pub fn view(prompt: &str, state: State) -> JobView {
    let id = Uuid::new_v4();
    let failed = state == State::Failed;
    // A completed job carries what an earlier attempt left behind: it must not be shown.
    let ended = failed || state == State::Completed;
    let job = Job {
        id,
        prompt: Some(prompt.into()),
        model: "flux-schnell".into(),
        plan: Default::default(),
        state,
        error_code: ended.then(|| "content_blocked".into()),
        error: ended.then(|| "The vendor refused the prompt.".into()),
        created_us: NOW_US - 3_000_000,
        updated_us: NOW_US,
        finished_us: state.is_final().then_some(NOW_US),
        deadline_us: NOW_US + 600_000_000,
        lease_epoch: 1,
        attempts_made: 1,
        cost: Some(Money::micros(634, "USD")).filter(|_| state == State::Completed),
        adjustments: json!([{"field": "size", "asked": "1K", "used": "1024x1024", "reason": "the only size"}]),
        ..Job::sample("team", &["workers-ai"])
    };
    let image = Image {
        id: Uuid::new_v4(),
        job_id: id,
        position: 0,
        team: "team".into(),
        object_key: "k".into(),
        mime: "image/png".into(),
        width: 1024,
        height: 1024,
        bytes: IMAGE_BYTES,
        sha256: "ab".repeat(32),
        revised_prompt: None,
        seed: Some(7),
        created_us: NOW_US,
        expires_us: None,
        deleted_us: None,
    };
    let attempt = Attempt {
        id: Uuid::new_v4(),
        job_id: id,
        number: 1,
        epoch: 1,
        instance: "backup-ai".into(),
        vendor_model: "@cf/flux".into(),
        class: "S".into(),
        started_us: NOW_US,
        ticket: None,
        ticket_us: None,
        ended_us: state.is_final().then_some(NOW_US),
        outcome: (state == State::Completed).then(|| "completed".into()),
        vendor_status: None,
        vendor_code: None,
        vendor_request_id: None,
        spend: None,
    };
    let images = if state == State::Completed { vec![image] } else { Vec::new() };
    JobView {
        job,
        images,
        deleted: Vec::new(),
        attempts: vec![attempt],
        queue_position: None,
        progress: None,
    }
}

/// A model that honours everything, so that schemas are at their largest.
pub fn model(name: &str, on: bool) -> ModelView {
    ModelView {
        name: name.into(),
        description: "fast draft quality".into(),
        on,
        default: name == "flux-schnell",
        providers: vec!["workers-ai".into(), "openai".into()],
        sizes: "1024x1024 only".into(),
        max_count: 20,
        references: 4,
        formats: vec!["png"],
        transparent: true,
        styles: vec!["anime".into()],
        honours: vec![
            "negative_prompt",
            "quality",
            "style",
            "seed",
            "steps",
            "guidance",
            "background",
            "output_format",
            "output_compression",
            "moderation",
            "watermark",
            "prompt_rewrite",
            "user",
            "vendor",
            "references",
            "mask",
        ],
        price: Some(Money::micros(634, "USD")),
        targets: vec![TargetView { to: "workers-ai/@cf/flux".into(), on, price: None, reason: None }],
        off: (!on).then(|| "no credentials".into()),
    }
}

#[async_trait]
impl Backend for Fake {
    async fn generate(&self, _: &Owner, generation: Generation) -> Result<Accepted, JobsError> {
        self.here()?;
        if let Some(refused) = self.refuse.lock().clone() {
            return Err(refused.into());
        }
        self.submitting.notify_one();
        let takes = *self.submit.lock();
        sleep(takes).await;
        let made = |_| {
            let mut made = view(&generation.request.prompt, State::Queued);
            if let Some(memo) = &generation.memo {
                made.job.request["memo"] = memo.clone();
            }
            made
        };
        let views: Vec<_> = (0..generation.count).map(made).collect();
        let jobs = views.iter().map(|view| view.job.clone()).collect();
        self.views.lock().extend(views);
        let batch_id = (generation.count > 1).then(Uuid::new_v4);
        self.generations.lock().push(generation);
        Ok(Accepted {
            jobs,
            batch_id,
            estimated_cost: Some(Money::micros(634, "USD")),
            notices: self.notices.lock().clone(),
            expected_seconds: 8,
            adjustments: vec![Adjustment::new("size", "1K", "1024x1024", "the only size")],
            repeated: *self.repeated.lock(),
        })
    }
    async fn job(&self, team: &str, id: Uuid) -> Result<Option<JobView>, StoreError> {
        self.here()?;
        Ok(self.find(&[id]).pop().filter(|view| view.job.team == team))
    }
    async fn wait(
        &self,
        _: &str,
        ids: &[Uuid],
        until: Instant,
        moments: Option<watch::Sender<Option<Moment>>>,
    ) -> Result<Vec<JobView>, StoreError> {
        self.here()?;
        *self.until.lock() = Some(until);
        *self.moments.lock() = moments;
        self.waiting.notify_one();
        let mut changed = self.changed.subscribe();
        loop {
            let views = self.find(ids);
            if views.iter().all(|view| view.job.state.is_final()) || Instant::now() >= until {
                return Ok(views);
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = sleep_until(until) => {}
            }
        }
    }
    async fn cancel(&self, team: &str, id: Uuid) -> Result<Option<Cancelled>, StoreError> {
        self.cancelled.lock().push(id);
        let job = {
            let mut views = self.views.lock();
            let view = views.iter_mut().find(|view| view.job.id == id && view.job.team == team);
            view.map(|view| {
                match view.job.state {
                    State::Queued => view.job.state = State::Cancelled,
                    State::Running => view.job.cancel_requested = true,
                    _ => {}
                }
                view.job.clone()
            })
        };
        self.changed.send_modify(|n| *n += 1);
        let cancelled = job.as_ref().is_some_and(|job| job.state == State::Cancelled);
        Ok(job.map(|job| Cancelled { job, cancelled, cost: "none", message: "Cancelled.".into() }))
    }
    async fn list(&self, filter: &Filter, window: Window) -> Result<Page<JobView>, StoreError> {
        self.here()?;
        self.listed.lock().push((filter.clone(), window));
        let mut rows = self.views.lock().clone();
        rows.retain(|view| filter.states.is_empty() || filter.states.contains(&view.job.state));
        Ok(page(rows, window, |view| Place { created_us: view.job.created_us, id: view.job.id }))
    }
    async fn generations(
        &self,
        filter: &Filter,
        window: Window,
    ) -> Result<Page<(Image, JobView)>, StoreError> {
        self.listed.lock().push((filter.clone(), window));
        let views = self.views.lock().clone();
        let rows = views
            .into_iter()
            .flat_map(|v| v.images.clone().into_iter().map(move |i| (i, v.clone())))
            .collect();
        Ok(page(rows, window, |(image, _): &(Image, JobView)| Place {
            created_us: image.created_us,
            id: image.id,
        }))
    }
    async fn image(&self, _: &str, id: Uuid) -> Result<Option<(Image, JobView)>, StoreError> {
        let views = self.views.lock();
        let of = |view: &JobView| {
            let mut all = view.images.iter().chain(&view.deleted);
            all.find(|image| image.id == id).map(|i| (i.clone(), view.clone()))
        };
        Ok(views.iter().find_map(of))
    }
    async fn delete_image(&self, team: &str, id: Uuid) -> Result<Option<Deletion>, StoreError> {
        self.here()?;
        let mut views = self.views.lock();
        for view in views.iter_mut().filter(|view| view.job.team == team) {
            if let Some(image) = view.deleted.iter().find(|image| image.id == id).cloned() {
                return Ok(Some(Deletion { image, anew: false, object: Object::Removed }));
            }
            if let Some(at) = view.images.iter().position(|image| image.id == id) {
                let image = Image { deleted_us: Some(NOW_US), ..view.images.remove(at) };
                view.deleted.push(image.clone());
                return Ok(Some(Deletion { image, anew: true, object: Object::Removed }));
            }
        }
        Ok(None)
    }
    async fn estimate(&self, _: &Owner, generation: Generation) -> Result<Estimate, StoreError> {
        let refused = Refused::new(Code::ApprovalRequired, "Above what may be spent without a yes.");
        Ok(Estimate {
            model: "flux-schnell".into(),
            target: None,
            count: generation.count,
            price: Some(Money::micros(634, "USD")),
            highest: None,
            basis: "price list of 2026-11-01".into(),
            refusals: if generation.count > 10 { vec![refused] } else { Vec::new() },
        })
    }
    async fn explain_model(&self, owner: &Owner, model: &str) -> Result<Explanation, StoreError> {
        let generation = Generation { model: Some(model.into()), count: 1, ..Generation::default() };
        let choice = Choice {
            to: "workers-ai/@cf/flux".into(),
            on: true,
            serves: true,
            price: Some(Money::micros(634, "USD")),
            highest: None,
            price_source: None,
            reason: None,
            adjustments: Vec::new(),
            class: Some("S"),
            expected: None,
        };
        let routing = Explained {
            model: Some(model.into()),
            route: Some("cheap".into()),
            passed: Vec::new(),
            strategy: Strategy::Ordered,
            targets: vec![choice],
            error: None,
        };
        Ok(Explanation { estimate: self.estimate(owner, generation).await?, routing: Some(routing) })
    }
    async fn quota(&self, owner: &Owner) -> Result<Vec<Limit>, StoreError> {
        self.here()?;
        assert_eq!((owner.team.as_str(), owner.key.as_str()), ("team", "key"));
        Ok(self.limits.lock().clone())
    }
    async fn usage(&self, filter: &Filter, by: By) -> Result<Vec<Used>, StoreError> {
        self.here()?;
        self.counted.lock().push((filter.clone(), by));
        Ok(self.used.lock().clone())
    }
    fn image_origins(&self) -> Vec<String> {
        vec!["https://images.example.com".into()]
    }
    fn offers(&self, _: &str, tool: &str) -> bool {
        self.tools.lock().iter().any(|pattern| crate::providers::glob::fits(pattern, tool))
    }
    fn offered(&self, _: &Owner) -> Option<Offered> {
        self.offered.lock().clone()
    }
    fn models(&self, _: &Owner) -> Vec<ModelView> {
        self.models_asked.fetch_add(1, Ordering::Relaxed);
        let names = [
            "off-model",
            "flux-schnell",
            "sdxl-lightning",
            "sdxl-base",
            "gpt-image",
            "hunyuan",
            "seedream",
            "photo",
        ];
        names.iter().map(|name| model(name, *name != "off-model")).collect()
    }
    fn upload_slot(&self, _: &Owner) -> Option<SlotLink> {
        let id = Uuid::nil();
        Some(SlotLink { id, url: format!("https://pics.example/uploads/{id}"), expires_us: NOW_US })
    }
    fn upload_max(&self) -> u64 {
        20 << 20
    }
    fn retention(&self) -> Duration {
        Duration::from_secs(2_592_000)
    }
    fn providers(&self, _: &Owner) -> Vec<ProviderView> {
        let pairs =
            |all: &[(&str, &str)]| all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let provider = |id: &str, kind: &str, styles: &[(&str, &str)]| ProviderView {
            id: id.into(),
            kind: kind.into(),
            styles: pairs(styles),
            resolutions: pairs(&[("1024x1024", "1:1 square"), ("1536x1024", "3:2 landscape")]),
        };
        vec![
            provider("openai", "openai", &[]),
            provider(
                "hunyuan-eu",
                "hunyuan",
                &[("riman", "Japanese anime style"), ("youhua", "oil painting style")],
            ),
        ]
    }
    async fn reload(&self) -> Outcome {
        self.reload.lock().clone()
    }
    async fn full(&self, image: &Image) -> Result<Bytes, ImageError> {
        Ok(vec![1; image.bytes as usize].into())
    }
    async fn preview(&self, _: &Image, _: u32, _: u64) -> Result<Option<(Mime, Bytes)>, ImageError> {
        Ok(self.previews.lock().then(|| (Mime::Webp, Bytes::from_static(b"small"))))
    }
    fn link(&self, image: &Image) -> Link {
        let url = format!("http://127.0.0.1:8000/images/{}.png?e=1&s=x", image.id);
        Link { url, expires_us: Some(NOW_US + 1_999) }
    }
    fn local_path(&self, image: &Image) -> Option<String> {
        Some(format!("/data/images/{}.png", image.id))
    }
}

/// Rows in the order in which they were made; a cursor counts.
fn page<T>(rows: Vec<T>, window: Window, place: impl Fn(&T) -> Place) -> Page<T> {
    let total = rows.len() as u64;
    let after = window.after.map_or(0, |last| rows.iter().take_while(|row| place(row) != last).count() + 1);
    let first = after + window.offset as usize;
    let rows: Vec<T> = rows.into_iter().skip(first).take(window.limit as usize).collect();
    let more = ((first + rows.len()) as u64) < total;
    let next = rows.last().filter(|_| more).map(place);
    Page { rows, total, total_is_minimum: false, next }
}
