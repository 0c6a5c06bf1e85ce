//! What the rows about misbehaving vendors begin with: a scene with the fault proxy before its vendor, and the truth
//! about a call, against which the client, the database, the vendor and the stored files are held.

use crate::{
    checker,
    database::{self, COMPLETED, FAILED},
    ledger::{self, Call},
    proxy::Proxy,
    scene::{LIMIT, QUICK, Scene, make_all},
    support::{Config, Gateway},
};
use std::collections::HashSet;

/// The price of an image of the vendor's models, in micro-units.
const PRICE: i64 = 40_000;

/// What must have come of a call.
#[derive(Debug, Clone, Copy)]
pub struct Truth {
    /// `completed`, or the code of the failure.
    pub word: &'static str,
    /// Submissions that the vendor accepted.
    pub bought: usize,
    /// Attempts in the database.
    pub attempts: usize,
    /// Of the last attempt: `none`, `possible`, `certain`.
    pub spend: &'static str,
    /// What the quota of money was charged in the end; `None`: it is still held.
    pub charged: Option<i64>,
    /// The stored image is the one picture of the prompt.
    pub own_picture: bool,
}

impl Truth {
    pub fn completed() -> Truth {
        Truth {
            word: "completed",
            bought: 1,
            attempts: 1,
            spend: "certain",
            charged: Some(PRICE),
            own_picture: true,
        }
    }
    /// Nobody knows whether it was made and paid for.
    pub fn unknown() -> Truth {
        Truth {
            word: "outcome_unknown",
            bought: 1,
            attempts: 1,
            spend: "possible",
            charged: None,
            own_picture: true,
        }
    }
    /// Paid for, and of no use.
    pub fn useless() -> Truth {
        Truth {
            word: "provider_error",
            bought: 1,
            attempts: 1,
            spend: "certain",
            charged: Some(PRICE),
            own_picture: true,
        }
    }
    /// Certainly not made.
    pub fn unavailable(attempts: usize) -> Truth {
        Truth {
            word: "provider_unavailable",
            bought: 0,
            attempts,
            spend: "none",
            charged: Some(0),
            own_picture: true,
        }
    }
    pub fn bought(self, bought: usize) -> Truth {
        Truth { bought, ..self }
    }
    pub fn attempts(self, attempts: usize) -> Truth {
        Truth { attempts, ..self }
    }
}

/// A running gateway whose way to its vendor leads through the proxy.
pub struct Stage {
    pub scene: Scene,
    pub proxy: Proxy,
    pub gateway: Gateway,
}

impl Stage {
    /// The breaker never opens here, unless `more` says otherwise: each case is to meet the vendor. `more` is told
    /// the proxy's address.
    pub async fn new(name: &str, seed: u64, more: impl FnOnce(Config, &str) -> Config) -> Stage {
        let proxy = Proxy::start().await;
        let address = proxy.address().to_string();
        let scene = Scene::new(name, seed, QUICK, |config| {
            let config = config.set("providers.vendor.base_url", format!("http://{address}"));
            more(config.set("routing.breaker.failures", 1_000_000), &address)
        });
        let scene = scene.await;
        proxy.to(scene.vendor.upstream.address());
        let gateway = scene.start().await;
        Stage { scene, proxy, gateway }
    }

    /// New calls of each model, all at once, up to their ends.
    pub async fn run(&mut self, models: &[&'static str], each: usize) -> Vec<Call> {
        let mut calls = self.scene.calls(each, models);
        let client = self.gateway.client();
        make_all(&client, &mut calls).await;
        ledger::settle(&client, &mut calls, LIMIT).await;
        self.scene.calls.extend(calls.clone());
        calls
    }

    /// The same, and everything about them that is not `truth`.
    pub async fn case(
        &mut self,
        models: &[&'static str],
        each: usize,
        truth: impl Fn(&Call) -> Truth,
    ) -> Vec<String> {
        let calls = self.run(models, each).await;
        let mut wrong = Vec::new();
        for call in &calls {
            wrong.extend(self.judge(call, truth(call)).await);
        }
        wrong
    }

    /// Everything about a call that is not so.
    pub async fn judge(&self, call: &Call, truth: Truth) -> Vec<String> {
        let data = self.scene.home.data_dir();
        let found = database::read(data).await;
        let accepted = self.scene.vendor.accepted();
        let mut wrong = Vec::new();
        let mut expect = |holds: bool, what: String| {
            if !holds {
                wrong.push(format!("`{}`: {what}", call.prompt));
            }
        };
        let Some(job) = found.jobs.iter().find(|job| Some(&job.id) == call.job.as_ref()) else {
            return vec![format!("`{}` has no job: {call:?}", call.prompt)];
        };
        let word = match job.state {
            COMPLETED => "completed",
            FAILED => job.code.as_deref().unwrap_or("no code"),
            _ => "not ended",
        };
        expect(word == truth.word, format!("{word} instead of {}", truth.word));
        expect(call.told.as_deref() == Some(word), format!("the client was told {:?}", call.told));
        let bought: Vec<_> = accepted.iter().filter(|a| a.prompt == call.prompt).collect();
        let (billed, keys) = (
            bought.iter().filter(|a| a.billed).count(),
            bought.iter().map(|a| &a.key).collect::<HashSet<_>>().len(),
        );
        expect(
            bought.len() == truth.bought,
            format!("{} submissions instead of {}", bought.len(), truth.bought),
        );
        expect(billed <= 1 && keys <= 1, format!("bought twice: {billed} billed, {keys} keys"));
        let mut attempts: Vec<_> = found.attempts.iter().filter(|a| a.job == job.id).collect();
        attempts.sort_by_key(|a| a.started);
        expect(
            attempts.len() == truth.attempts,
            format!("{} attempts instead of {}", attempts.len(), truth.attempts),
        );
        let spend = attempts.last().and_then(|a| a.spend.as_deref());
        expect(spend == Some(truth.spend), format!("spend {spend:?} instead of {}", truth.spend));
        expect(attempts.iter().all(|a| a.ended.is_some()), "an attempt is still open".into());
        let money = |line: &&database::Line| line.job == job.id && line.window.contains("|spend|");
        let charged = found.lines.iter().filter(money).find(|l| l.kind == "settle").map(|l| l.amount);
        expect(charged == truth.charged, format!("charged {charged:?} instead of {:?}", truth.charged));
        let images: Vec<_> = found.images.iter().filter(|image| image.job == job.id).collect();
        let wanted = usize::from(truth.word == "completed");
        expect(images.len() == wanted, format!("{} images instead of {wanted}", images.len()));
        for image in images.into_iter().filter(|_| truth.own_picture) {
            let damage = checker::damage(data, image, &call.prompt);
            expect(damage.is_none(), damage.unwrap_or_default());
        }
        wrong
    }

    /// Stops the gateway and checks what concerns no single call: quotas, orphaned objects, the spool, panics.
    pub async fn end(self) -> Vec<String> {
        let Stage { scene, gateway, proxy } = self;
        let log = gateway.log();
        gateway.stop().await;
        drop(proxy);
        let data = scene.home.data_dir();
        let mut wrong = checker::whole(data, &scene.calls, &scene.vendor.accepted()).await.wrong;
        let panics = log.matches("panicked at").count();
        if panics > 0 {
            wrong.push(format!("{panics} panics"));
        }
        wrong
    }
}
