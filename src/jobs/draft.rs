//! Planning and pricing a generation: what a submit commits, an estimate shows, and an explanation explains.

use super::{Code, Estimate, Explanation, Generation, Live, Owner, Refused, spending::over_quota};
use crate::{
    limits::quota,
    providers::{Ask, Catalog, Full, PlanError, Planned, Unplannable, Unpriced, sample},
    store::{Reservation, Store, StoreError, instance_of},
};
use plugin_api::value::Money;
use ring::digest::{SHA256, digest};
use std::collections::{BTreeMap, HashMap};

/// Most images of one call.
const MOST: u32 = 20;

/// Instances that have used up a limit of their own, with what is said of it.
pub(super) type Spent = BTreeMap<String, Refused>;

/// What one configuration makes of a caller's generations, at one moment.
pub struct Desk<'a> {
    pub live: &'a Live,
    pub owner: &'a Owner,
    pub now_us: i64,
}

/// A plan and what its jobs reserve, each.
pub(super) struct Draft {
    pub planned: Planned,
    pub lines: Vec<Reservation>,
    /// Every instance of it has used up a limit of its own. Only the transaction may refuse for that: a repeat is none.
    pub spent: Option<Refused>,
}

impl Desk<'_> {
    /// Plans around instances whose own limits are used up. Without a store nothing counts as used.
    ///
    /// # Errors
    /// The generation cannot be served: `Ok(Err(_))`. The database is away: `Err(_)`.
    pub(super) async fn draft(
        &self,
        store: Option<&Store>,
        generation: &Generation,
        spent: &mut Spent,
    ) -> Result<Result<Draft, Refused>, StoreError> {
        let mut last = None::<Draft>;
        loop {
            let planned = match self.with_ask(generation, spent, Catalog::plan) {
                Ok(Ok(planned)) => planned,
                Ok(Err(error)) if error.kind == Unplannable::Full => {
                    let why = spent.values().min_by_key(|why| why.retry_after_ms).cloned();
                    let Some(mut draft) = last else { return Ok(Err(why.unwrap_or(refused(error)))) };
                    draft.spent = why;
                    return Ok(Ok(draft));
                }
                Ok(Err(error)) => return Ok(Err(refused(error))),
                Err(refused) => return Ok(Err(refused)),
            };
            let lines = match self.lines(&planned) {
                Ok(lines) => lines,
                Err(refused) => return Ok(Err(refused)),
            };
            let before = spent.len();
            let own = self.own_lines(&planned, spent);
            let over = self.over(store, &own, generation.count).await?;
            spent.extend(
                over.into_iter().filter_map(|(line, why)| Some((instance_of(&line.window)?.to_owned(), why))),
            );
            let draft = Draft { planned, lines: lines.into_iter().chain(own).collect(), spent: None };
            if spent.len() == before {
                return Ok(Ok(draft));
            }
            last = Some(draft);
        }
    }

    /// What a generation would cost and whether it would be accepted. Buys nothing.
    ///
    /// # Errors
    /// The database is away.
    pub async fn estimate(
        &self,
        store: Option<&Store>,
        generation: &Generation,
    ) -> Result<Estimate, StoreError> {
        self.estimate_around(store, &dry(generation), &mut Spent::new()).await
    }

    /// Which target would serve a generation, at what price, and why each other would not. Buys nothing.
    ///
    /// # Errors
    /// The database is away.
    pub async fn explain(
        &self,
        store: Option<&Store>,
        generation: &Generation,
    ) -> Result<Explanation, StoreError> {
        let (generation, mut spent) = (dry(generation), Spent::new());
        let estimate = self.estimate_around(store, &generation, &mut spent).await?;
        let routing = self.with_ask(&generation, &spent, Catalog::explain).ok();
        Ok(Explanation { estimate, routing })
    }

    /// As [`Desk::explain`] for the least that a model can be asked for.
    ///
    /// # Errors
    /// The database is away.
    pub async fn explain_model(&self, store: &Store, model: &str) -> Result<Explanation, StoreError> {
        let registry = &self.live.registry;
        let info = registry.model(model);
        let request = info.and_then(|info| info.capabilities).map(|caps| sample(&caps)).unwrap_or_default();
        let generation = Generation {
            tool: if request.references.is_empty() { "generate_image" } else { "edit_image" }.into(),
            model: Some(model.to_owned()),
            count: 1,
            references: request.references.iter().map(|_| String::new()).collect(),
            request,
            ..Generation::default()
        };
        self.explain(Some(store), &generation).await
    }

    async fn estimate_around(
        &self,
        store: Option<&Store>,
        generation: &Generation,
        spent: &mut Spent,
    ) -> Result<Estimate, StoreError> {
        let mut estimate = Estimate {
            model: generation.model.clone().unwrap_or_default(),
            target: None,
            count: generation.count,
            price: None,
            highest: None,
            basis: "no price is known".into(),
            refusals: Vec::new(),
        };
        let Draft { planned, lines, spent } = match self.draft(store, generation, spent).await? {
            Ok(draft) => draft,
            Err(refused) => {
                estimate.refusals.push(refused);
                return Ok(estimate);
            }
        };
        let times = |money: Option<Money>| money.map(|m| m.times(generation.count.into()));
        estimate.target = planned.plan.targets.first().map(|t| format!("{}/{}", t.instance, t.vendor_model));
        estimate.price = times(planned.expected);
        estimate.highest = times(planned.highest);
        estimate.model = planned.model;
        estimate.basis = planned.price_source.unwrap_or(estimate.basis);
        let whose: Vec<Reservation> =
            lines.into_iter().filter(|line| instance_of(&line.window).is_none()).collect();
        let over = self.over(store, &whose, generation.count).await?;
        estimate.refusals.extend(over.into_iter().next().map(|(_, why)| why).or(spent));
        Ok(estimate)
    }

    /// Asks the registry in this caller's name.
    fn with_ask<T>(
        &self,
        generation: &Generation,
        spent: &Spent,
        what: impl FnOnce(&Catalog, &Ask<'_>) -> T,
    ) -> Result<T, Refused> {
        if !(1..=MOST).contains(&generation.count) {
            let text = format!("`count` is {}; accepted: 1 to {MOST}.", generation.count);
            return Err(Refused::new(Code::InvalidRequest, text).field("count"));
        }
        let Desk { live, owner, .. } = self;
        let registry = &live.registry;
        let mut request = generation.request.clone();
        request.n = 1;
        request.watermark.get_or_insert(registry.routing.watermark);
        request.user = request.user.map(|user| hashed(&[&owner.team, &user])[..32].to_owned());
        let allowed = live.rules.models(&owner.team, &owner.key);
        let full: Full = spent.iter().map(|(id, why)| (id.clone(), why.message.clone())).collect();
        let payer = live.rules.payer(owner);
        let ask = Ask {
            team: &owner.team,
            key: &owner.key,
            claims: &owner.claims,
            tool: &generation.tool,
            model: generation.model.as_deref(),
            provider: generation.provider.as_deref(),
            request: &request,
            parameters: generation.parameters,
            allowed: &allowed,
            priced: registry.routing.unpriced == Unpriced::Refuse
                && quota::has_budget(&live.rules.limits, payer),
            full: &full,
        };
        Ok(what(registry, &ask))
    }

    /// What one job holds of its team's, its key's and the gateway's quotas.
    fn lines(&self, planned: &Planned) -> Result<Vec<Reservation>, Refused> {
        let Live { rules, registry, .. } = self.live;
        let owner = self.owner;
        let payer = rules.payer(owner);
        let highest = planned.highest.or(self.ceiling(planned.images));
        let convert = |money| registry.convert(money);
        quota::lines(&rules.limits, payer, planned.images, highest, convert, self.now_us).map_err(|error| {
            let text = format!("The model `{}` cannot be bought: {error}. Choose another model, or ask the operator to set its price.", planned.model);
            Refused::new(Code::BudgetExceeded, text).field("model")
        })
    }

    /// What it holds of the limits of every instance it may go to. One that cannot be counted goes into `spent`.
    fn own_lines(&self, planned: &Planned, spent: &mut Spent) -> Vec<Reservation> {
        let registry = &self.live.registry;
        let mut lines: Vec<Reservation> = Vec::new();
        for (target, (images, highest)) in planned.plan.targets.iter().zip(&planned.each) {
            let Some(instance) = registry.instance(&target.instance) else { continue };
            let highest = highest.or(self.ceiling(*images));
            let (owner, convert) = (quota::provider(&instance.id), |money| registry.convert(money));
            match quota::lines_of(&owner, instance.limits(), *images, highest, convert, self.now_us) {
                // Two models of an instance: the dearer one is what may come.
                Ok(own) => own.into_iter().for_each(|line| {
                    match lines.iter_mut().find(|other| other.window == line.window) {
                        Some(other) => other.amount = other.amount.max(line.amount),
                        None => lines.push(line),
                    }
                }),
                Err(error) => {
                    let text = format!("The provider `{}` cannot be used: {error}.", instance.id);
                    let why = Refused {
                        provider: Some(instance.id.clone()),
                        ..Refused::new(Code::BudgetExceeded, text)
                    };
                    spent.insert(instance.id.clone(), why);
                }
            }
        }
        lines
    }

    /// What is reserved for a model without a price.
    fn ceiling(&self, images: u32) -> Option<Money> {
        match self.live.registry.routing.unpriced {
            Unpriced::Refuse => None,
            Unpriced::Ceiling(money) => self.live.registry.convert(money.times(images.into())),
        }
    }

    /// The lines that `count` more jobs would not fit into.
    async fn over(
        &self,
        store: Option<&Store>,
        lines: &[Reservation],
        count: u32,
    ) -> Result<Vec<(Reservation, Refused)>, StoreError> {
        if lines.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = lines.iter().map(|l| l.window.as_str()).collect();
        let windows = match store {
            Some(store) => store.windows(&ids).await?,
            None => HashMap::new(),
        };
        let over = |line: &Reservation| {
            let (used, reserved) = windows.get(&line.window).copied().unwrap_or_default();
            (used + reserved + line.amount * i64::from(count) > line.cap)
                .then(|| (line.clone(), over_quota(line, used, reserved, self.now_us)))
        };
        Ok(lines.iter().filter_map(over).collect())
    }
}

/// References are only counted where nothing is bought: nothing is fetched or stored for an answer.
fn dry(generation: &Generation) -> Generation {
    let input = || plugin_api::Input { mime: "image/png".into(), ..Default::default() };
    let mut dry = generation.clone();
    dry.request.references = dry.references.iter().map(|_| input()).collect();
    dry.request.mask = dry.mask.as_ref().map(|_| input());
    dry
}

fn refused(error: PlanError) -> Refused {
    let code = match error.kind {
        Unplannable::Unknown => Code::InvalidRequest,
        Unplannable::Forbidden => Code::Permission,
        Unplannable::Unsupported => Code::UnsupportedParameter,
        Unplannable::Off => Code::ProviderUnavailable,
        Unplannable::Unpriced => Code::BudgetExceeded,
        Unplannable::Full => Code::QuotaExceeded,
    };
    Refused { field: error.field, ..Refused::new(code, error.message) }
}

pub(super) fn hashed(parts: &[&str]) -> String {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_le_bytes());
        all.extend_from_slice(part.as_bytes());
    }
    hex::encode(digest(&SHA256, &all))
}
