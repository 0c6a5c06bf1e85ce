//! A stand-in for jobs and images: jobs end when the test says so.

use crate::{
    images::{ImageError, Link},
    jobs::{
        Accepted, Cancelled, Code, Estimate, Generation, JobView, JobsError, ModelView, Moment, Owner, Page,
        Refused, TargetView,
    },
    mcp::Backend,
    store::{Attempt, Image, Job, State, StoreError},
};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use plugin_api::{Adjustment, Mime, value::Money};
use serde_json::json;
use std::time::Duration;
use tokio::{
    sync::{Notify, mpsc, watch},
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
    /// How long a submit takes.
    pub submit: Mutex<Duration>,
    /// The submit meets jobs that are there already.
    pub repeated: Mutex<bool>,
    /// A wait that has begun.
    pub waiting: Notify,
    pub submitting: Notify,
    pub previews: Mutex<bool>,
    pub until: Mutex<Option<Instant>>,
    pub moments: Mutex<Option<mpsc::Sender<Moment>>>,
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
            submit: Mutex::new(Duration::ZERO),
            repeated: Mutex::new(false),
            waiting: Notify::new(),
            submitting: Notify::new(),
            previews: Mutex::new(true),
            until: Mutex::new(None),
            moments: Mutex::new(None),
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
    let job = Job {
        id,
        batch_id: None,
        team: "team".into(),
        key_id: "key".into(),
        tool: "generate_image".into(),
        request: json!({}),
        prompt: Some(prompt.into()),
        model: "flux-schnell".into(),
        plan: Default::default(),
        target: 0,
        instance: "workers-ai".into(),
        file_prefix: None,
        state,
        phase: None,
        // A completed job carries what an earlier attempt left behind: it must not be shown.
        error_code: (failed || state == State::Completed).then(|| "content_blocked".into()),
        error: (failed || state == State::Completed).then(|| "The vendor refused the prompt.".into()),
        created_us: NOW_US - 3_000_000,
        updated_us: NOW_US,
        finished_us: state.is_final().then_some(NOW_US),
        deadline_us: NOW_US + 600_000_000,
        lease_epoch: 1,
        attempts_made: 1,
        next_run_us: 0,
        priority: 0,
        cancel_requested: false,
        reserved: None,
        cost: Some(Money::micros(634, "USD")).filter(|_| state == State::Completed),
        adjustments: json!([{"field": "size", "asked": "1K", "used": "1024x1024", "reason": "the only size"}]),
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
    JobView { job, images, attempts: vec![attempt], queue_position: None, progress: None }
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
        let views: Vec<_> =
            (0..generation.count).map(|_| view(&generation.request.prompt, State::Queued)).collect();
        let jobs = views.iter().map(|view| view.job.clone()).collect();
        self.views.lock().extend(views);
        let batch_id = (generation.count > 1).then(Uuid::new_v4);
        self.generations.lock().push(generation);
        Ok(Accepted {
            jobs,
            batch_id,
            estimated_cost: Some(Money::micros(634, "USD")),
            expected_seconds: 8,
            adjustments: vec![Adjustment::new("size", "1K", "1024x1024", "the only size")],
            repeated: *self.repeated.lock(),
        })
    }
    async fn job(&self, _: &str, id: Uuid) -> Result<Option<JobView>, StoreError> {
        self.here()?;
        Ok(self.find(&[id]).pop())
    }
    async fn wait(
        &self,
        _: &str,
        ids: &[Uuid],
        until: Instant,
        moments: Option<mpsc::Sender<Moment>>,
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
    async fn cancel(&self, _: &str, id: Uuid) -> Result<Option<Cancelled>, StoreError> {
        self.cancelled.lock().push(id);
        self.changed.send_modify(|n| *n += 1);
        let job = self.find(&[id]).pop().map(|view| view.job);
        Ok(job.map(|job| Cancelled { job, cancelled: true, cost: "none", message: "Cancelled.".into() }))
    }
    async fn list(
        &self,
        _: &str,
        states: &[State],
        limit: u64,
        offset: u64,
    ) -> Result<Page<JobView>, StoreError> {
        self.here()?;
        let mut rows = self.views.lock().clone();
        rows.retain(|view| states.is_empty() || states.contains(&view.job.state));
        Ok(page(rows, limit, offset))
    }
    async fn generations(
        &self,
        _: &str,
        limit: u64,
        offset: u64,
    ) -> Result<Page<(Image, JobView)>, StoreError> {
        let views = self.views.lock().clone();
        let rows = views
            .into_iter()
            .flat_map(|v| v.images.clone().into_iter().map(move |i| (i, v.clone())))
            .collect();
        Ok(page(rows, limit, offset))
    }
    async fn image(&self, _: &str, id: Uuid) -> Result<Option<(Image, JobView)>, StoreError> {
        let views = self.views.lock();
        let of = |view: &JobView| {
            view.images.iter().find(|image| image.id == id).map(|i| (i.clone(), view.clone()))
        };
        Ok(views.iter().find_map(of))
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
    fn models(&self, _: &Owner) -> Vec<ModelView> {
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

fn page<T>(rows: Vec<T>, limit: u64, offset: u64) -> Page<T> {
    let total = rows.len() as u64;
    let rows: Vec<T> = rows.into_iter().skip(offset as usize).take(limit as usize).collect();
    Page { has_more: offset + (rows.len() as u64) < total, rows, total, total_is_minimum: false }
}
