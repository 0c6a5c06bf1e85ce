//! `budget`: what a team may have beyond its limits for a time.

use super::{Gateway, options, output};
use crate::{
    config::Config,
    store::{Raise, Store},
    telemetry::{Clock as _, SystemClock},
};
use anyhow::{anyhow, bail};
use plugin_api::value::{Limits, Money};
use std::process::ExitCode;

/// Most characters of a reason.
const REASON: usize = 500;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Raise(Args),
    /// List what is raised, until when, and why
    List,
    /// End what is raised for a team; what was made stays counted
    End {
        team: String,
    },
}

/// Give a team more images or money for a time; in force within a second on every node
///
/// Every window of the team takes so much more, a day's as well as a month's; the limits of its keys, of providers and
/// of the gateway stay. A second raise stands in place of the first:
///   image-gateway budget raise design "200 USD" --until 2d --reason "launch week"
///   image-gateway budget raise design "500 images" --until 2027-01-31 --reason "trade fair"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// As `teams` of the configuration names it
    team: String,
    /// `200 USD`, or `500 images`; `200` alone is money where the team's budgets have one currency
    amount: String,
    /// Until when: for a time (2d), to a day (2027-01-31), or to a moment (2027-01-31T12:00:00Z)
    #[arg(long, value_name = "WHEN")]
    until: String,
    /// Why, for `budget list`
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub async fn run(gateway: &Gateway, command: Command) -> anyhow::Result<ExitCode> {
    let config = gateway.load()?.config;
    match command {
        Command::Raise(args) => {
            let raise = read(args, &config, SystemClock.now_us())?;
            let store = options::open_store(&config, &gateway.data_dir()).await?;
            store.raise(raise.clone()).await?;
            let until = output::time(raise.ends_us);
            output::print(&format!("Team `{}` has {} more until {until}.\n", raise.team, amount(&raise)));
        }
        Command::List => output::print(&listing(&store(gateway, &config).await?.raises().await?)),
        Command::End { team } => match store(gateway, &config).await?.end_raises(&team).await? {
            0 => bail!("nothing is raised for `{team}`; `image-gateway budget list` shows what is"),
            _ => output::print(&format!("Team `{team}` has its own limits again.\n")),
        },
    }
    Ok(ExitCode::SUCCESS)
}

async fn store(gateway: &Gateway, config: &Config) -> anyhow::Result<Store> {
    gateway.existing_store(config).await
}

fn read(args: Args, config: &Config, now_us: i64) -> anyhow::Result<Raise> {
    let Args { team, amount, until, reason } = args;
    let Some(entry) = config.teams.get(&team) else {
        let known: Vec<&str> = config.teams.keys().map(String::as_str).collect();
        bail!("there is no team `{team}` in the configuration; there are {}", known.join(", "));
    };
    let reason = reason.trim().to_owned();
    if reason.is_empty() || reason.chars().count() > REASON {
        bail!("--reason: say why in 1 to {REASON} characters");
    }
    let ends_us = options::moment("--until", &until, now_us)?;
    let (currency, amount) = wanted(&amount, &entry.limits, &config.limits.per_team)?;
    Ok(Raise { team, currency, amount, since_us: now_us, ends_us, reason })
}

/// What is raised, and by how much.
fn wanted(text: &str, own: &Limits, default: &Limits) -> anyhow::Result<(Option<String>, i64)> {
    let bad = || anyhow!("`{text}` is no amount: write it like \"200 USD\" or \"500 images\"");
    let positive = |n: i64| if n > 0 { Ok(n) } else { Err(bad()) };
    let text = text.trim();
    if let Some(count) = text.strip_suffix("images").or_else(|| text.strip_suffix("image")) {
        if own.images.as_slice().is_empty() && default.images.as_slice().is_empty() {
            bail!("no limit on images applies to this team: there is nothing to raise");
        }
        return Ok((None, positive(count.trim().parse().map_err(|_| bad())?)?));
    }
    let spend = if own.spend.as_slice().is_empty() { default.spend.as_slice() } else { own.spend.as_slice() };
    let mut currencies: Vec<&str> = spend.iter().map(|window| window.money.currency()).collect();
    currencies.sort_unstable();
    currencies.dedup();
    let money: Money = match (text.parse(), currencies.as_slice()) {
        (_, []) => bail!("no budget applies to this team: there is nothing to raise"),
        (Ok(money), _) => money,
        (Err(_), [one]) => format!("{text} {one}").parse().map_err(|_| bad())?,
        (Err(_), _) => return Err(bad()),
    };
    if !currencies.contains(&money.currency()) {
        bail!("the budgets of this team are in {}, not in {}", currencies.join(" and "), money.currency());
    }
    Ok((Some(money.currency().to_owned()), positive(money.amount_micros)?))
}

fn amount(raise: &Raise) -> String {
    match &raise.currency {
        Some(currency) => {
            format!("{}.{:02} {currency}", raise.amount / 1_000_000, raise.amount % 1_000_000 / 10_000)
        }
        None => format!("{} images", raise.amount),
    }
}

fn listing(raises: &[Raise]) -> String {
    if raises.is_empty() {
        return "Nothing is raised; `image-gateway budget raise --help` tells how.\n".into();
    }
    let now = SystemClock.now_us();
    let row = |raise: &Raise| {
        let end = output::time(raise.ends_us);
        let end = if raise.ends_us <= now { format!("{end} (over)") } else { end };
        vec![raise.team.clone(), amount(raise), output::time(raise.since_us), end, raise.reason.clone()]
    };
    output::table(&["TEAM", "MORE", "SINCE", "UNTIL", "WHY"], &raises.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(json: &str) -> Limits {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_amount_is_money_of_the_budgets_or_images() {
        let own = limits(r#"{"spend":["20 USD/day","200 USD/month"],"images":"5/day"}"#);
        let none = Limits::default();
        let usd = |micros| Some((Some("USD".to_owned()), micros));
        for (text, own, default, wanted_raise) in [
            ("200 USD", &own, &none, usd(200_000_000)),
            ("0.5", &none, &own, usd(500_000)),
            ("500 images", &own, &none, Some((None, 500))),
            ("1 image", &none, &own, Some((None, 1))),
            ("200 EUR", &own, &none, None),
            ("200 USD", &none, &none, None),
            ("5 images", &none, &none, None),
            ("0 images", &own, &none, None),
            ("-5", &own, &none, None),
            ("many", &own, &none, None),
        ] {
            let found = wanted(text, own, default);
            assert_eq!(found.as_ref().ok(), wanted_raise.as_ref(), "{text}: {found:?}");
        }
    }
}
