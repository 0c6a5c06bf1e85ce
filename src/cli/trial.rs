//! `doctor --generate`: one cheap image with every provider that works, made as any job is: planned, reserved, queued,
//! tried again, verified and stored. This process is one more node for as long as it takes.

use super::{
    Gateway,
    doctor::{self, Finding},
    output,
};
use crate::{
    app::{App, Options, Place},
    auth::FileKey,
    config::Loaded,
    jobs::{Estimate, Generation, JobView, Owner, Role},
    providers::{Registry, Upstream},
    store::State,
};
use plugin_api::{Capabilities, ImageRequest, Parameters, Quality, Size, value::Money};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

const PROMPT: &str = "A small grey circle on a white background";
/// The owner of the images.
const TEAM: &str = "default";
const KEY: &str = "doctor";
/// Beyond the deadline of a job its end is written.
const MARGIN: Duration = Duration::from_secs(5);

/// An image that is going to be made.
struct Trial {
    provider: String,
    generation: Generation,
    estimate: Estimate,
}

/// Makes the images, after a question unless `yes`. `working`: the providers whose credentials are good. The result is
/// whether all went well.
///
/// # Errors
/// The gateway cannot be built, or its database is away.
pub async fn run(
    gateway: &Gateway,
    mut loaded: Loaded,
    working: &[String],
    yes: bool,
) -> anyhow::Result<bool> {
    // What the team may use, and what this node does otherwise, is not what is tried.
    let models = Some(vec!["*".to_owned()]);
    loaded.config.auth.keys.push(FileKey { id: KEY.into(), models, ..FileKey::default() });
    loaded.config.jobs.role = Role::All;
    let grace = *loaded.config.server.shutdown_grace;
    let patience = *loaded.config.jobs.deadline + MARGIN;
    let options = Options {
        loaded,
        data_dir: gateway.data_dir(),
        plugins: gateway.plugins,
        extra: gateway.extra,
        place: Place::Stdio,
        save_dir: None,
        allow_partial: false,
    };
    let app = App::build(options).await?;
    let outcome = attempt(&app, working, yes, patience).await;
    app.jobs.stop(grace).await;
    outcome
}

async fn attempt(app: &App, working: &[String], yes: bool, patience: Duration) -> anyhow::Result<bool> {
    let owner = Owner { team: TEAM.into(), key: KEY.into(), ..Owner::default() };
    let (mut trials, mut findings) = (Vec::new(), Vec::new());
    for provider in working {
        match prepare(app, &owner, provider).await? {
            Ok(trial) => trials.push(trial),
            Err(finding) => findings.push(finding),
        }
    }
    if trials.is_empty() && findings.is_empty() {
        output::print("\nNo provider works, so there is nothing to make an image with.\n");
        return Ok(false);
    }
    output::print(&offer(&trials, &findings));
    if !trials.is_empty() && !yes && !agreed().await {
        output::print("Nothing was made.\n");
        return Ok(false);
    }
    let made = make(app, &owner, trials, patience).await?;
    let all_well = findings.is_empty() && made.iter().all(Finding::works);
    if !made.is_empty() {
        output::print(&format!("\n{}", doctor::lines(&made)));
    }
    Ok(all_well)
}

/// The cheapest image of a provider, and what it would cost; else why none is tried.
async fn prepare(app: &App, owner: &Owner, provider: &str) -> anyhow::Result<Result<Trial, Finding>> {
    let what = format!("image by {provider}");
    let live = app.jobs.live();
    let Some(upstream) = live.registry.instance(provider) else {
        return Ok(Err(Finding::fail(&what, "it is not configured any more", "Run doctor again.")));
    };
    let Some(request) = cheapest(&live.registry, upstream) else {
        let says = "none of its models makes an image of a prompt alone";
        return Ok(Err(Finding::fail(&what, says, "Give it a model in the configuration.")));
    };
    let generation = Generation {
        tool: "doctor".into(),
        model: Some(format!("{provider}/{}", request.model)),
        provider: Some(provider.to_owned()),
        count: 1,
        request,
        parameters: Some(Parameters::Nearest),
        ..Generation::default()
    };
    let estimate = app.jobs.estimate(owner, generation.clone()).await?;
    Ok(match estimate.refusals.first() {
        Some(refused) => Err(Finding::fail(&what, &refused.message, "Nothing was sent to the vendor.")),
        None => Ok(Trial { provider: provider.to_owned(), generation, estimate }),
    })
}

/// The request whose highest price is lowest, over the models, qualities and sizes of an instance. Of those that cost
/// the same the first counts, and its default model comes first. One without a price comes last.
fn cheapest(registry: &Registry, instance: &Upstream) -> Option<ImageRequest> {
    let provider = instance.provider.as_ref().ok()?;
    let mut models = provider.models();
    let default = instance.default_model();
    models.sort_by_key(|model| Some(model) != default.as_ref());
    let mut best: Option<((i64, i64), ImageRequest)> = None;
    for model in &models {
        let Some(caps) = provider.capabilities(model) else { continue };
        if caps.replaced_by.is_some() || *caps.references.start() > 0 {
            continue;
        }
        for request in requests(model, caps) {
            let Ok(fit) = caps.fit(&request, Parameters::Nearest) else { continue };
            let price = registry.price("", &format!("{}/{model}", instance.id), caps, &fit.request);
            let price =
                price.map_or((i64::MAX, i64::MAX), |p| (p.highest.amount_micros, p.expected.amount_micros));
            if best.as_ref().is_none_or(|(lowest, _)| price < *lowest) {
                best = Some((price, request));
            }
        }
    }
    best.map(|(_, request)| request)
}

fn requests(model: &str, caps: &Capabilities) -> Vec<ImageRequest> {
    let low = caps.qualities.contains(&Quality::Low).then_some(Quality::Low);
    let exact = |(width, height)| Size::Exact { width, height };
    let sizes = std::iter::once(Size::Auto).chain(caps.sizes.examples().into_iter().map(exact));
    sizes.map(|size| ImageRequest { size, quality: low, ..ImageRequest::new(model, PROMPT) }).collect()
}

/// What would be made, and for how much.
fn offer(trials: &[Trial], not: &[Finding]) -> String {
    let mut text = String::from("\n");
    if !trials.is_empty() {
        let rows: Vec<Vec<String>> = trials.iter().map(line).collect();
        text += &output::table(&["PROVIDER", "MODEL", "SIZE", "PRICE", "AT MOST"], &rows);
        text += &format!("{}\n", total(trials));
    }
    text + &doctor::lines(not)
}

fn line(trial: &Trial) -> Vec<String> {
    let Trial { provider, generation, estimate } = trial;
    let quality = generation.request.quality.map_or(String::new(), |quality| format!(", quality {quality}"));
    vec![
        provider.clone(),
        generation.request.model.clone(),
        format!("{}{quality}", generation.request.size),
        output::money(estimate.price),
        output::money(estimate.highest),
    ]
}

fn total(trials: &[Trial]) -> String {
    let images = if trials.len() == 1 { "One image".to_owned() } else { format!("{} images", trials.len()) };
    let unknown = trials.iter().filter(|trial| trial.estimate.highest.is_none()).count();
    let known = trials.iter().filter_map(|trial| trial.estimate.highest);
    let sum = known
        .reduce(|sum: Money, next| Money::micros(sum.amount_micros + next.amount_micros, sum.currency()));
    let cost = sum.map_or_else(|| "for nothing that is known".into(), |sum| format!("for at most {sum}"));
    match unknown {
        0 => format!("{images} {cost}."),
        n => format!("{images} {cost}; of {n} the price is not known."),
    }
}

/// Asks on the terminal. No answer is a no.
async fn agreed() -> bool {
    output::print("Make them now? [y/N] ");
    let read = || {
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map(|_| answer)
    };
    let answer = tokio::task::spawn_blocking(read).await;
    matches!(answer, Ok(Ok(answer)) if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// All at the same time; findings in the order of the trials.
async fn make(
    app: &App,
    owner: &Owner,
    trials: Vec<Trial>,
    patience: Duration,
) -> anyhow::Result<Vec<Finding>> {
    let mut jobs: Vec<(String, Result<Uuid, Finding>)> = Vec::new();
    for Trial { provider, generation, .. } in trials {
        let what = format!("image by {provider}");
        let job = match app.jobs.generate(owner, generation).await {
            Ok(accepted) => Ok(accepted.jobs[0].id),
            Err(error) => Err(Finding::fail(&what, error.to_string(), "Nothing was sent to the vendor.")),
        };
        jobs.push((what, job));
    }
    let ids: Vec<Uuid> = jobs.iter().filter_map(|(_, job)| job.as_ref().ok().copied()).collect();
    let views = app.jobs.wait(TEAM, &ids, Instant::now() + patience, None).await?;
    let judged = jobs.into_iter().map(|(what, job)| match job {
        Err(finding) => finding,
        Ok(id) => match views.iter().find(|view| view.job.id == id) {
            Some(view) => judge(app, &what, view),
            None => Finding::fail(&what, format!("the job {id} is gone"), "See the log of the server."),
        },
    });
    Ok(judged.collect())
}

fn judge(app: &App, what: &str, view: &JobView) -> Finding {
    let job = &view.job;
    let took = output::span(job.finished_us.unwrap_or(job.updated_us) - job.created_us);
    let show = format!("`image-gateway jobs show {}` tells all about it.", job.id);
    match (job.state, view.images.first()) {
        (State::Completed, Some(image)) => {
            let bytes = output::bytes(u64::try_from(image.bytes).unwrap_or(0));
            let place = app.images.local_path(image).unwrap_or_else(|| image.object_key.clone());
            let cost = output::money(job.cost);
            let size = format!("{}x{}", image.width, image.height);
            Finding::ok(what, format!("{size}, {bytes} in {took} for {cost}: {place}"))
        }
        (State::Failed | State::Cancelled, _) => {
            let code = job.error_code.as_deref().unwrap_or("internal");
            let error = job.error.as_deref().unwrap_or("no reason was kept");
            Finding::fail(what, format!("{code}: {error}"), show)
        }
        _ => Finding::fail(what, format!("it is not done after {took}"), show),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::options, providers::builtin::PLUGINS};
    use std::path::Path;

    #[test]
    fn the_cheapest_image_of_each_vendor_is_chosen() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("config.yaml"),
            "providers:\n  openai: {kind: openai, api_key: k}\n  card: {kind: placeholder}\n  doubao: {kind: doubao, api_key: k}\n\
             models: {}\nrouting: {default_model: []}\n",
        )
        .unwrap();
        let options = crate::config::LoadOptions { working_dir: dir.path().into(), ..Default::default() };
        let config = crate::config::load(&options, PLUGINS).unwrap().config;
        let registry = options::registry(&config, PLUGINS, Path::new("data")).unwrap();
        for instance in registry.instances() {
            let chosen = cheapest(&registry, instance).expect("every one of them makes images of a prompt");
            let provider = instance.provider.as_ref().unwrap();
            let price = |request: &ImageRequest| {
                let caps = provider.capabilities(&request.model)?;
                let fit = caps.fit(request, Parameters::Nearest).ok()?;
                let to = format!("{}/{}", instance.id, request.model);
                Some(registry.price("", &to, caps, &fit.request)?.highest.amount_micros)
            };
            let ours = price(&chosen).expect("it has a price");
            for model in provider.models() {
                let any = ImageRequest::new(model.as_str(), PROMPT);
                let made = provider.capabilities(&model).is_some_and(|caps| *caps.references.start() == 0);
                let other = price(&any).filter(|_| made);
                assert!(other.is_none_or(|other| ours <= other), "{}: {model} is cheaper", instance.id);
            }
        }
        let openai = cheapest(&registry, registry.instance("openai").unwrap()).unwrap();
        assert_eq!(openai.quality, Some(Quality::Low));
    }
}
